// One query position of 1 to 64 sessions against their caches, both head classes in one launch, shared out by bytes
// (decode_plan.h).
#pragma once
#include "cuda/decode_plan.h"

namespace duo::cuda {

// How the kernel is cut to the device. Zeros in a request mean the chooser's own values.
struct DecodeShape {
  int32_t warps = 0;   // per block
  int32_t stages = 0;  // tiles on their way or in use, per team
  int32_t blocks = 0;  // of the grid: each takes one split
  int32_t room = 0;    // bytes of shared memory where splits are combined, or more where the rings need it
  int32_t team = 0;  // warps that share pieces, each with its own queries of a group; a divisor of warps, not asked for
};
// Of a head_dim and queries per KV head; `shared_bytes`: what a block may have on this device.
DecodeShape choose_decode_shape(Dtype dtype, int head_dim, int group, int multiprocessors, int64_t shared_bytes,
                                DecodeShape request = {});
// What a block of that shape takes: more than there is where a group is too large for a head_dim and device.
int64_t decode_shared_bytes(Dtype dtype, int head_dim, int group, const DecodeShape &shape);

// The step's projections of each session's token, to be normed (Q/K norm) and rotated here.
struct DecodeProjections {
  const bf16 *qkv;                     // [batch, (H + 2G)·D]: queries, keys, values
  const float *query_norm, *key_norm;  // [D] or null
  float eps;
  const float *cosine, *sine;  // [batch, D/2] of each session's length
};

struct DecodeAttention {
  const DecodeHead *plan;  // [batch·G + 1] of this layer
  DecodeShape shape;
  int32_t batch, heads, kv_heads, head_dim;
  Dtype dtype;  // of every member's cache
  bool
      rotates;  // quantised caches: queries and this step's entries are transformed (hadamard.h), `query` being so already; outputs back
  const bf16 *query;  // [batch, H, D] after rope, this step's entries being in the caches; or null: made from
  DecodeProjections projections;  // on the way, and this step's entries written
  float *partial;                 // [blocks + batch·G, group, D] scratch
  float *partial_scale;           // [blocks + batch·G, group, 2] scratch: largest score (log2), sum
  int32_t *arrived;               // [batch·H] zeros: splits of a head that are done, zeros again afterwards
  bf16 *out;                      // [batch, H, D] written
};
// Reads each visible cache entry once for all query heads of a group, up to eight warps' share of 8 or 16 (decode_piece.h).
// A dependent launch.
cudaError_t launch_decode_attention(const DecodeAttention &attention, cudaStream_t stream);

}  // namespace duo::cuda
