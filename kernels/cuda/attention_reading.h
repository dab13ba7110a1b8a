// What heads attend to at chosen positions, and mean queries and keys, from the f16 queries and keys of a layer. Scores
// fp32, sums fp64 in a fixed order.
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

// One layer. All pointers device memory.
struct LayerReading {
  const uint16_t *query, *key;  // f16, rotated: [T, H, D], [T, G, D]
  const float *cosine, *sine;   // [T, D/2]
  const int32_t *positions;     // [P] ascending
  const int32_t *key_ranges;    // [P, 2]
  int64_t num_tokens, num_positions;
  int32_t heads, kv_heads, head_dim;  // head_dim even, at most 512
};

// masses, top_keys [P, H] written: attention to keys [begin, end) of each position's range, and the key attended to
// most, the first on a tie.
cudaError_t launch_read_attention(const LayerReading &reading, float *masses, int32_t *top_keys, cudaStream_t stream);

// means [H + G, D] written: of queries, then keys, over all T tokens, turned back to where they were before RoPE.
cudaError_t launch_mean_heads(const LayerReading &reading, float *means, cudaStream_t stream);

}  // namespace duo::cuda
