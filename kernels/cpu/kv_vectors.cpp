// Rounding and storing of head vectors.
#include "cpu/kv_vectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace duo {
namespace {

constexpr float F16_MAX = 65504.0f, FP8_MAX = 448.0f;

// 0 … 65504 to the nearest fp16, ties to even.
uint16_t narrow_to_f16(float value) {
  uint32_t bits = float_to_bits(value);
  if (bits < 0x38800000u)
    return static_cast<uint16_t>(std::nearbyint(value * 0x1p24f));  // subnormal, or rounds up to the least normal
  bits += 0xfffu + (bits >> 13 & 1u);
  return static_cast<uint16_t>((bits - 0x38000000u) >> 13);
}

// To e4m3, ties to even; beyond ±448 the nearest end.
uint8_t narrow_to_fp8(float value) {
  // fp32's bits with e4m3's bias: dropping 20 of them rounds subnormals too.
  const uint32_t all = float_to_bits(value * 0x1p-120f), bits = all & 0x7fffffffu,
                 rounded = (bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20;
  return static_cast<uint8_t>((all >> 24 & 0x80u) | std::min(rounded, 0x7eu));
}
float fp8_to_float(uint8_t code) { return bits_to_float((code & 0x80u) << 24 | (code & 0x7fu) << 20) * 0x1p120f; }

// The codes of one vector.
class Quantizer {
 public:
  Quantizer(Dtype dtype, const float *vector, int64_t head_dim) : dtype_(dtype) {
    float largest = 0.0f, smallest = 0.0f;  // 0 is always inside int4's range, so its zero is one of 0…15
    for (int64_t d = 0; d < head_dim; d++) {
      largest = std::max(largest, vector[d]);
      smallest = std::max(smallest, -vector[d]);
    }
    if (dtype == Dtype::int4) {
      const uint16_t half_scale = narrow_to_f16(std::min(F16_MAX, (largest + smallest) * (1.0f / 15.0f)));
      scale_ = f16_to_float(half_scale);
      inverse_ = scale_ > 0.0f ? 1.0f / scale_ : 0.0f;
      zero_ = std::min(15.0f, std::nearbyint(smallest * inverse_));
      word_ = half_scale | static_cast<uint32_t>(narrow_to_f16(zero_)) << 16;
      return;
    }
    scale_ = std::max(largest, smallest) / (dtype == Dtype::int8 ? 127.0f : FP8_MAX);
    inverse_ = scale_ > 0.0f ? 1.0f / scale_ : 0.0f;
    word_ = float_to_bits(scale_);
  }

  uint32_t word() const { return word_; }
  uint8_t encode(float value) const {
    if (dtype_ == Dtype::int4)
      return static_cast<uint8_t>(std::max(0.0f, std::min(15.0f, std::nearbyint(value * inverse_) + zero_)));
    if (dtype_ == Dtype::fp8) return narrow_to_fp8(value * inverse_);
    return static_cast<uint8_t>(
        static_cast<int8_t>(std::max(-127.0f, std::min(127.0f, std::nearbyint(value * inverse_)))));
  }
  float decode(uint8_t code) const {
    if (dtype_ == Dtype::int4) return (static_cast<float>(code) - zero_) * scale_;
    return scale_ * (dtype_ == Dtype::fp8 ? fp8_to_float(code) : static_cast<float>(static_cast<int8_t>(code)));
  }

 private:
  Dtype dtype_;
  float scale_, inverse_, zero_ = 0.0f;
  uint32_t word_;
};

// Elements, or int4's pairs of them, lie `stride` apart.
void store_vector(Dtype dtype, uint8_t *to, int64_t stride, const float *vector, int64_t head_dim, uint32_t *word) {
  if (dtype == Dtype::f32) {
    for (int64_t d = 0; d < head_dim; d++) std::memcpy(to + d * stride * 4, vector + d, 4);
    return;
  }
  if (dtype == Dtype::bf16) {
    for (int64_t d = 0; d < head_dim; d++) {
      const uint16_t half = float_to_bf16(vector[d]);
      std::memcpy(to + d * stride * 2, &half, 2);
    }
    return;
  }
  const Quantizer quantizer(dtype, vector, head_dim);
  *word = quantizer.word();
  if (dtype == Dtype::int4) {
    const int64_t half = head_dim / 2;
    for (int64_t d = 0; d < half; d++)
      to[d * stride] = static_cast<uint8_t>(quantizer.encode(vector[d]) | quantizer.encode(vector[d + half]) << 4);
  } else {
    for (int64_t d = 0; d < head_dim; d++) to[d * stride] = quantizer.encode(vector[d]);
  }
}

// The views of a session point into memory it owns; const there only says that the loops do not write.
uint32_t *word_at(const uint32_t *words, int64_t slot) {
  return words == nullptr ? nullptr : const_cast<uint32_t *>(words) + slot;
}

}  // namespace

int64_t kv_row_bytes(Dtype dtype, int64_t head_dim) {
  return dtype == Dtype::int4 ? head_dim / 2 : head_dim * dtype_bytes(dtype);
}

bool kv_has_word(Dtype dtype) {
  return dtype == Dtype::int8 || dtype == Dtype::fp8 || dtype == Dtype::int4 || dtype == Dtype::k8v4;
}

void round_to_cache(Dtype dtype, float *vector, int64_t head_dim) {
  if (dtype == Dtype::bf16) {
    for (int64_t d = 0; d < head_dim; d++) vector[d] = bf16_to_float(float_to_bf16(vector[d]));
  } else if (kv_has_word(dtype)) {
    const Quantizer quantizer(dtype, vector, head_dim);
    for (int64_t d = 0; d < head_dim; d++) vector[d] = quantizer.decode(quantizer.encode(vector[d]));
  }
}

void store_key(const CacheView &cache, int64_t slot, const float *key) {
  const Dtype dtype = key_dtype(static_cast<Dtype>(cache.dtype));
  const int64_t first = slot / KEY_BLOCK * KEY_BLOCK, width = std::min(KEY_BLOCK, cache.capacity - first);
  auto *block = const_cast<uint8_t *>(cache.keys) + first * kv_row_bytes(dtype, cache.head_dim);
  const int64_t lane_bytes = dtype == Dtype::int4 ? 1 : dtype_bytes(dtype);
  store_vector(dtype, block + (slot - first) * lane_bytes, width, key, cache.head_dim, word_at(cache.key_words, slot));
}

void store_value(const CacheView &cache, int64_t slot, const float *value) {
  const Dtype dtype = value_dtype(static_cast<Dtype>(cache.dtype));
  auto *row = const_cast<uint8_t *>(cache.values) + slot * kv_row_bytes(dtype, cache.head_dim);
  store_vector(dtype, row, 1, value, cache.head_dim, word_at(cache.value_words, slot));
}

}  // namespace duo
