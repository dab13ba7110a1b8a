// Layout, rounding, and the ring of the KV cache.
#include "cpu/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace duo {
namespace {

// Keys and values of one token and head, with their two scales.
int64_t count_token_bytes(Dtype dtype, int64_t head_dim) {
  return 2 * head_dim * dtype_bytes(dtype) + (dtype == Dtype::int8 ? 2 * static_cast<int64_t>(sizeof(float)) : 0);
}

Dtype require_dtype(Dtype dtype) {
  if (dtype != Dtype::f32 && dtype != Dtype::bf16 && dtype != Dtype::int8) {
    fail(DUO_STATUS_UNSUPPORTED, "Expected `kv_dtype` to be F32, BF16 or INT8 on the CPU, got the code `%d`", static_cast<int>(dtype));
  }
  return dtype;
}

// Symmetric: the largest magnitude becomes 127. A zero vector has scale 0.
float measure_scale(const float *vector, int64_t head_dim) {
  float largest = 0.0f;
  for (int64_t d = 0; d < head_dim; d++) largest = std::max(largest, std::fabs(vector[d]));
  return largest / 127.0f;
}

int8_t quantize(float value, float inverse_scale) {
  return static_cast<int8_t>(std::max(-127.0f, std::min(127.0f, std::nearbyint(value * inverse_scale))));
}

// Elements lie `stride` apart.
void store_vector(int32_t dtype, uint8_t *to, int64_t stride, const float *vector, int64_t head_dim, float *scale) {
  if (dtype == DUO_DTYPE_BF16) {
    for (int64_t d = 0; d < head_dim; d++) {
      const uint16_t half = float_to_bf16(vector[d]);
      std::memcpy(to + d * stride * 2, &half, 2);
    }
  } else if (dtype == DUO_DTYPE_INT8) {
    *scale = measure_scale(vector, head_dim);
    const float inverse = *scale > 0.0f ? 1.0f / *scale : 0.0f;
    for (int64_t d = 0; d < head_dim; d++) to[d * stride] = static_cast<uint8_t>(quantize(vector[d], inverse));
  } else {
    for (int64_t d = 0; d < head_dim; d++) std::memcpy(to + d * stride * 4, vector + d, 4);
  }
}

float *scale_at(const float *scales, int64_t slot) { return scales == nullptr ? nullptr : const_cast<float *>(scales) + slot; }

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

void round_to_cache(Dtype dtype, float *vector, int64_t head_dim) {
  if (dtype == Dtype::bf16) {
    for (int64_t d = 0; d < head_dim; d++) vector[d] = bf16_to_float(float_to_bf16(vector[d]));
  } else if (dtype == Dtype::int8) {
    const float scale = measure_scale(vector, head_dim), inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (int64_t d = 0; d < head_dim; d++) vector[d] = static_cast<float>(quantize(vector[d], inverse)) * scale;
  }
}

void store_key(const CacheView &cache, int64_t slot, const float *key) {
  const int64_t first = slot / KEY_BLOCK * KEY_BLOCK, width = std::min(KEY_BLOCK, cache.capacity - first);
  const int64_t element = first * cache.head_dim + (slot - first);
  // The views of a session point into memory it owns; const here only says that the loops do not write.
  auto *keys = const_cast<uint8_t *>(cache.keys) + element * dtype_bytes(static_cast<Dtype>(cache.dtype));
  store_vector(cache.dtype, keys, width, key, cache.head_dim, scale_at(cache.key_scales, slot));
}

void store_value(const CacheView &cache, int64_t slot, const float *value) {
  auto *values = const_cast<uint8_t *>(cache.values) + slot * cache.head_dim * dtype_bytes(static_cast<Dtype>(cache.dtype));
  store_vector(cache.dtype, values, 1, value, cache.head_dim, scale_at(cache.value_scales, slot));
}

KvCache::KvCache(const ModelConfig &config, const SessionOptions &options)
    : dtype_(require_dtype(options.kv_dtype)),
      recent_(options.windows),
      sink_(options.sink),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      bytes_(count_token_bytes(dtype_, head_dim_) * options.count_all_slots()),
      full_bytes_(count_token_bytes(dtype_, head_dim_) * config.num_gates() * options.max_tokens),
      memory_(bytes_) {
  const int64_t num_slots = options.count_all_slots();
  auto *scales = reinterpret_cast<float *>(memory_.data());
  uint8_t *elements = memory_.data() + (dtype_ == Dtype::int8 ? num_slots * 2 * static_cast<int64_t>(sizeof(float)) : 0);
  for (int64_t layer = 0; layer < config.layers; layer++) {
    for (int64_t head = 0; head < kv_heads_; head++) {
      const int64_t slots = options.count_slots(static_cast<int64_t>(index(layer, head))), head_bytes = slots * head_dim_ * dtype_bytes(dtype_);
      CacheView view{static_cast<int32_t>(dtype_), head_dim_, slots, elements, elements + head_bytes, nullptr, nullptr};
      elements += 2 * head_bytes;
      if (dtype_ == Dtype::int8) {
        view.key_scales = scales;
        view.value_scales = scales + slots;
        scales += 2 * slots;
      }
      views_.push_back(view);
    }
  }
}

void KvCache::write(int64_t layer, int64_t head, int64_t position, const float *key, const float *value) {
  const int64_t to = slot(layer, head, position);
  store_key(view(layer, head), to, key);
  store_value(view(layer, head), to, value);
}

void KvCache::copy_live(const KvCache &from, int64_t layer, int64_t head, int64_t length) {
  const CacheView &source = from.view(layer, head), &target = view(layer, head);
  const int64_t live = std::min(length, target.capacity), row = head_dim_ * dtype_bytes(dtype_);
  const int64_t live_blocks = std::min((live + KEY_BLOCK - 1) / KEY_BLOCK * KEY_BLOCK, target.capacity);
  std::memcpy(const_cast<uint8_t *>(target.keys), source.keys, static_cast<size_t>(live_blocks * row));
  std::memcpy(const_cast<uint8_t *>(target.values), source.values, static_cast<size_t>(live * row));
  if (dtype_ == Dtype::int8) {
    std::memcpy(const_cast<float *>(target.key_scales), source.key_scales, static_cast<size_t>(live) * sizeof(float));
    std::memcpy(const_cast<float *>(target.value_scales), source.value_scales, static_cast<size_t>(live) * sizeof(float));
  }
}

void KvCache::fill(int64_t layer, int64_t head, int64_t length, uint64_t seed) {
  const CacheView &target = view(layer, head);
  const int64_t live = std::min(length, target.capacity);
  std::vector<float> vector(static_cast<size_t>(head_dim_));
  uint64_t state = mix(seed + 0x9e3779b97f4a7c15u * (index(layer, head) + 1));
  const auto draw = [&] {
    for (float &x : vector) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      // Uniform in ±√3: variance 1.
      x = (static_cast<float>(state >> 40) * 0x1p-24f - 0.5f) * 3.46410162f;
    }
  };
  for (int64_t slot = 0; slot < live; slot++) {
    draw();
    store_key(target, slot, vector.data());
    draw();
    store_value(target, slot, vector.data());
  }
}

}  // namespace duo
