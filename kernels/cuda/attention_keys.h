// Where the forward kernels find a key or value: in the chunk that is fed, or in a head's cache, whole or ring, in any
// stored format.
#pragma once
#include "cuda/attention.h"

namespace duo::cuda {

// Elements 8·piece … 8·piece + 7 of the key or value at `position` to shared memory, as bf16 (f16 where the chunk is):
// by an asynchronous copy where they are stored so. Zeros for positions past the chunk.
template <int D>
__device__ __forceinline__ void copy_key_piece(bf16 *to, const AttentionForward &a, int kv_head, int64_t position,
                                               int piece, bool is_value) {
  const bool is_valid = position < a.chunk_start + a.chunk_count;
  const Dtype stored = is_value ? value_dtype(a.dtype) : key_dtype(a.dtype);
  const uint8_t *from = is_value ? a.chunk_value : a.chunk_key;
  const uint32_t *scale = is_value ? a.chunk_value_scale : a.chunk_key_scale;
  int64_t index = 0;
  if (position >= a.chunk_start) {
    index = is_valid ? (position - a.chunk_start) * a.shape.kv_heads + kv_head : 0;
  } else {
    const HeadCache &cache = a.caches[kv_head];
    const CacheRows rows = find_rows(cache, cache_slot(cache, position), a.dtype, D);
    from = is_value ? rows.value : rows.key;
    scale = is_value ? rows.value_scale : rows.key_scale;
  }
  from += index * kv_row_bytes(stored, D);
  if (stored == Dtype::bf16 || stored == Dtype::f16) {
    cp_async(to, from + piece * 16, is_valid);
  } else {
    *reinterpret_cast<uint4 *>(to) =
        is_valid ? read_scaled(stored, from, piece, scale == nullptr ? 0u : scale[index]) : make_uint4(0, 0, 0, 0);
  }
}

}  // namespace duo::cuda
