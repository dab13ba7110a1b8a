// Attention of a run of queries over a cache and the chunk they belong to: forward of both branches, backward to
// queries, keys and values; to the gates: branch_gradient.h. Everything a kernel needs is in one struct passed by
// value. Pointers are device memory unless said otherwise.
#pragma once
#include "cuda/kv_formats.h"

namespace duo::cuda {

struct AttentionShape {
  int32_t heads, kv_heads, head_dim;
  int64_t sink;
  const int64_t *recent;  // [G] device: R of each KV head's streaming branch, read where that runs
  __host__ __device__ int32_t group() const { return heads / kv_heads; }
};

struct AttentionForward {
  AttentionShape shape;
  const bf16 *query;         // [rows, H, D] after rope
  const int32_t *positions;  // [rows] absolute, ascending
  int64_t num_rows;
  // Keys and values at positions chunk_start … chunk_start + chunk_count − 1, stored as in a cache; earlier ones are in
  // `caches`.
  Dtype dtype;  // f16: queries and `mixed` are f16 too, and products; there are no caches then. Else these are bf16
  const uint8_t *chunk_key, *chunk_value;               // [chunk_count, G] rows
  const uint32_t *chunk_key_scale, *chunk_value_scale;  // [chunk_count, G] or null
  int64_t chunk_start, chunk_count;
  const HeadCache *caches;  // [G], or null when chunk_start is 0
  bool
      rotates;  // queries, keys and values are transformed (hadamard.h): outputs are transformed back. Of one branch at a time
  bool is_chunked;         // streaming heads see cache and causal chunk (DUO_PREFILL_CHUNKED)
  const int32_t *kv_list;  // the KV heads of this launch
  int32_t num_listed;
  const float
      *gates;  // [G] weight of the full branch, read when both branches run; else the one that runs has weight 1
  const float *teacher_full;     // [rows, H, D] the full branch of the mix, or null for the queries' own
  bf16 *mixed;                   // [rows, H, D] written
  float *full, *stream;          // [rows, H, D] written, or null
  float *full_lse, *stream_lse;  // [H, rows] log2 of the sum of 2^(score·log2 e) of each row, or null
};

enum class Branches { full, stream, both };

// Supported head_dim: HeadDims of instances.h; anything else is cudaErrorInvalidValue. num_listed 0 launches nothing. The
// kernel that fits the device:
cudaError_t launch_attention_forward(const AttentionForward &attention, Branches branches, cudaStream_t stream);
// Any device; Hopper and a head_dim of HopperHeadDims.
cudaError_t launch_attention_forward_plain(const AttentionForward &attention, Branches branches, cudaStream_t stream);
cudaError_t launch_attention_forward_hopper(const AttentionForward &attention, Branches branches, cudaStream_t stream);

struct AttentionBackward {
  AttentionShape shape;
  const bf16 *query;         // [rows, H, D]
  const int32_t *positions;  // [rows]
  int64_t num_rows;
  const bf16 *key, *value;  // [keys, G, D]
  int64_t num_keys;
  const bf16 *d_mixed;                 // [rows, H, D]
  const float *full_lse, *stream_lse;  // [H, rows]
  const float *gates;                  // [G]
  bool full_is_constant;               // no gradient through the full branch
  // Of branch_gradient.h, which writes them; attention backward reads the first two.
  float *full_delta, *stream_delta, *gate_delta;  // [H, rows]: ⟨d, full⟩, ⟨d, stream⟩, ⟨d, full − stream⟩
  float *d_gates;                                 // [G]
  float *d_query, *d_key, *d_value;               // [rows, H, D], [keys, G, D] written
};

// d_query, d_key and d_value, from the deltas of launch_branch_deltas. Which kernel, and for which head_dim: as
// forward.
cudaError_t launch_attention_backward(const AttentionBackward &attention, cudaStream_t stream);
cudaError_t launch_attention_backward_plain(const AttentionBackward &attention, cudaStream_t stream);
cudaError_t launch_attention_backward_hopper(const AttentionBackward &attention, cudaStream_t stream);

}  // namespace duo::cuda
