// How one head vector of a KV cache is stored, by dtype, and read back. Raw values of every format are exact in bf16;
// the value is raw·scale, so that kernels multiply raw values and apply one scale per vector.
//   f32, bf16, f16 (of a measuring pass; no cache has it): as they are; scale 1.   int8: −127…127, scale fp32 = max|x|/127.   fp8: e4m3, scale fp32 = max|x|/448.
//   int4: q − zero with q 0…15; the scale word holds fp16 scale (low half) and fp16 zero (high half), zero an integer 0…15.
//   k8v4, of a cache: keys as int8, values as int4.
#pragma once
#include "core/dtype.h"
#include "cuda/device.h"

namespace duo::cuda {

// Bytes of D values, in whole 16 bytes (of int4, 80 take 48 instead of 40); bytes of the scale word (0: none).
__host__ __device__ constexpr int kv_row_bytes(Dtype dtype, int head_dim) {
  return dtype == Dtype::f32                           ? 4 * head_dim
         : dtype == Dtype::bf16 || dtype == Dtype::f16 ? 2 * head_dim
         : dtype == Dtype::int4                        ? (head_dim / 2 + 15) / 16 * 16
                                                       : head_dim;
}
__host__ __device__ constexpr int kv_scale_bytes(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::bf16 || dtype == Dtype::f16 ? 0 : 4;
}

// Of a cache, whose keys and values may be stored unlike (core/dtype.h): bytes of a key, of a value, of an entry with
// its scales.
__host__ __device__ constexpr int kv_key_bytes(Dtype cache, int head_dim) {
  return kv_row_bytes(key_dtype(cache), head_dim);
}
__host__ __device__ constexpr int kv_value_bytes(Dtype cache, int head_dim) {
  return kv_row_bytes(value_dtype(cache), head_dim);
}
__host__ __device__ constexpr int kv_entry_bytes(Dtype cache, int head_dim) {
  return kv_key_bytes(cache, head_dim) + kv_value_bytes(cache, head_dim) + 2 * kv_scale_bytes(cache);
}

constexpr int PAGE_ENTRIES = 256;
// A page: keys, values, key scales, value scales of PAGE_ENTRIES entries of one KV head, one after another.
__host__ __device__ constexpr int64_t kv_page_bytes(Dtype dtype, int head_dim) {
  return int64_t{PAGE_ENTRIES} * kv_entry_bytes(dtype, head_dim);
}

// One KV head's cache of one layer, in one piece or in pages. Slot of position p: p, or in a ring S + (p − S) mod R
// from S on (docs/semantics.md, 6).
struct HeadCache {
  uint8_t *key,
      *value;  // [slots] rows of kv_key_bytes and kv_value_bytes, 16-byte aligned where the row is; or null: in pages
  uint32_t *key_scale, *value_scale;  // [slots] or null
  int64_t slots;
  int32_t is_ring;
  int64_t sink, recent;             // S and R of a ring
  uint8_t *const *pages = nullptr;  // page p is pages[p·page_stride], there as far as entries are; null: in one piece
  int64_t page_stride = 0;
};

// Where an entry lies, and those after it up to the end of its page, or of a cache in one piece.
struct CacheRows {
  uint8_t *key, *value;
  uint32_t *key_scale, *value_scale;  // null where the format has none

  __device__ __forceinline__ static CacheRows in_page(uint8_t *page, int entry, Dtype dtype, int head_dim) {
    const int key_row = kv_key_bytes(dtype, head_dim), value_row = kv_value_bytes(dtype, head_dim);
    uint8_t *const values = page + PAGE_ENTRIES * key_row;
    auto *scales =
        kv_scale_bytes(dtype) > 0 ? reinterpret_cast<uint32_t *>(values + PAGE_ENTRIES * value_row) : nullptr;
    return {page + entry * key_row, values + entry * value_row, scales == nullptr ? nullptr : scales + entry,
            scales == nullptr ? nullptr : scales + PAGE_ENTRIES + entry};
  }
  __device__ __forceinline__ static CacheRows in_piece(uint8_t *key, uint8_t *value, uint32_t *key_scale,
                                                       uint32_t *value_scale, int64_t entry, Dtype dtype,
                                                       int head_dim) {
    return {key + entry * kv_key_bytes(dtype, head_dim), value + entry * kv_value_bytes(dtype, head_dim),
            key_scale == nullptr ? nullptr : key_scale + entry, value_scale == nullptr ? nullptr : value_scale + entry};
  }
};
__device__ __forceinline__ CacheRows find_rows(const HeadCache &cache, int64_t slot, Dtype dtype, int head_dim) {
  if (cache.pages != nullptr)
    return CacheRows::in_page(cache.pages[slot / PAGE_ENTRIES * cache.page_stride],
                              static_cast<int>(slot % PAGE_ENTRIES), dtype, head_dim);
  return CacheRows::in_piece(cache.key, cache.value, cache.key_scale, cache.value_scale, slot, dtype, head_dim);
}

__device__ __forceinline__ int64_t cache_slot(const HeadCache &cache, int64_t position) {
  return !cache.is_ring || position < cache.sink ? position : cache.sink + (position - cache.sink) % cache.recent;
}

__device__ __forceinline__ float fp8_to_float(uint32_t byte) {
  // e4m3's bits in fp32's place have a bias of 7 instead of 127; the product is exact, subnormals too.
  return bits_float((byte & 0x80u) << 24 | (byte & 0x7fu) << 20) * 1.329227995784916e36f;  // 2^120
}
__device__ __forceinline__ uint32_t float_to_fp8(float value) {
#ifdef DUO_EMULATION
  const uint32_t all = float_to_bits(value * 7.52316384526264e-37f);  // 2^-120
#else
  const uint32_t all = __float_as_uint(value * 7.52316384526264e-37f);
#endif
  const uint32_t bits = all & 0x7fffffffu, rounded = (bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20;
  return (all >> 24 & 0x80u) | (rounded > 0x7eu ? 0x7eu : rounded);
}

// Raw values 8·chunk … 8·chunk+7 of a row as packed bf16. `zero` is int4's, else unused.
template <Dtype DTYPE>
__device__ __forceinline__ uint4 read_raw(const uint8_t *row, int chunk, float zero) {
  if constexpr (DTYPE == Dtype::bf16) {
    return *reinterpret_cast<const uint4 *>(row + chunk * 16);
  } else if constexpr (DTYPE == Dtype::f32) {
    const float4 a = *reinterpret_cast<const float4 *>(row + chunk * 32),
                 b = *reinterpret_cast<const float4 *>(row + chunk * 32 + 16);
    return make_uint4(pack_bf16(a.x, a.y), pack_bf16(a.z, a.w), pack_bf16(b.x, b.y), pack_bf16(b.z, b.w));
  } else if constexpr (DTYPE == Dtype::int8) {
    const uint2 words = *reinterpret_cast<const uint2 *>(row + chunk * 8);
    const auto value = [](uint32_t word, int i) {
      return static_cast<float>(static_cast<int8_t>(word >> (8 * i) & 0xffu));
    };
    return make_uint4(pack_bf16(value(words.x, 0), value(words.x, 1)), pack_bf16(value(words.x, 2), value(words.x, 3)),
                      pack_bf16(value(words.y, 0), value(words.y, 1)), pack_bf16(value(words.y, 2), value(words.y, 3)));
  } else if constexpr (DTYPE == Dtype::fp8) {
    const uint2 words = *reinterpret_cast<const uint2 *>(row + chunk * 8);
    const auto value = [](uint32_t word, int i) { return fp8_to_float(word >> (8 * i) & 0xffu); };
    return make_uint4(pack_bf16(value(words.x, 0), value(words.x, 1)), pack_bf16(value(words.x, 2), value(words.x, 3)),
                      pack_bf16(value(words.y, 0), value(words.y, 1)), pack_bf16(value(words.y, 2), value(words.y, 3)));
  } else {
    const uint32_t word = *reinterpret_cast<const uint32_t *>(row + chunk * 4);
    const auto value = [=](int i) { return static_cast<float>(word >> (4 * i) & 0xfu) - zero; };
    return make_uint4(pack_bf16(value(0), value(1)), pack_bf16(value(2), value(3)), pack_bf16(value(4), value(5)),
                      pack_bf16(value(6), value(7)));
  }
}

template <Dtype DTYPE>
__device__ __forceinline__ float read_scale(uint32_t word) {
  return DTYPE == Dtype::int4    ? widen_half(static_cast<uint16_t>(word & 0xffffu))
         : kv_scale_bytes(DTYPE) ? bits_float(word)
                                 : 1.0f;
}
template <Dtype DTYPE>
__device__ __forceinline__ float read_zero(uint32_t word) {
  return DTYPE == Dtype::int4 ? widen_half(static_cast<uint16_t>(word >> 16)) : 0.0f;
}

// The same 8 values, scaled, rounded to bf16; dtype known only at run time.
__device__ __forceinline__ uint4 read_scaled(Dtype dtype, const uint8_t *row, int chunk, uint32_t scale_word) {
  uint4 raw;
  float scale;
  switch (dtype) {
    case Dtype::int8: raw = read_raw<Dtype::int8>(row, chunk, 0.0f), scale = read_scale<Dtype::int8>(scale_word); break;
    case Dtype::fp8: raw = read_raw<Dtype::fp8>(row, chunk, 0.0f), scale = read_scale<Dtype::fp8>(scale_word); break;
    case Dtype::int4:
      raw = read_raw<Dtype::int4>(row, chunk, read_zero<Dtype::int4>(scale_word)),
      scale = read_scale<Dtype::int4>(scale_word);
      break;
    case Dtype::f32: return read_raw<Dtype::f32>(row, chunk, 0.0f);
    default: return read_raw<Dtype::bf16>(row, chunk, 0.0f);
  }
  const auto scaled = [=](uint32_t pair) { return pack_bf16(widen_low(pair) * scale, widen_high(pair) * scale); };
  return make_uint4(scaled(raw.x), scaled(raw.y), scaled(raw.z), scaled(raw.w));
}

}  // namespace duo::cuda
