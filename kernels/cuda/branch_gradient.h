// What a layer's two attention branches keep for their gradient. With m = α·full + (1−α)·stream and e = full − stream,
// both bf16, everything that backward needs of the outputs follows: ⟨d, full⟩ = ⟨d, m⟩ + (1−α)·⟨d, e⟩, ⟨d, stream⟩ =
// ⟨d, m⟩ − α·⟨d, e⟩, and the gate's gradient Σ⟨d, e⟩. Keeping the difference itself, not two outputs, keeps the gate's
// gradient exact to bf16 where the branches nearly agree.
#pragma once
#include "cuda/attention.h"

namespace duo::cuda {

constexpr int GATE_SLICES =
    64;  // blocks a KV head's sum is split over: 8 heads fill an H200 and a slice of 32K tokens is still 2K rows

// difference [count] bf16 = full − stream.
cudaError_t launch_branch_difference(const float *full, const float *stream, int64_t count, bf16 *difference,
                                     cudaStream_t stream_);

// Writes a.full_delta, a.stream_delta, a.gate_delta [H, rows] from a.d_mixed and what was kept, then a.d_gates [G],
// summed in fp64 in a fixed order.
//   mixed, difference [rows, H, D] bf16      partial [G, GATE_SLICES] fp64, scratch
cudaError_t launch_branch_deltas(const AttentionBackward &a, const bf16 *mixed, const bf16 *difference, double *partial,
                                 cudaStream_t stream);

// sums [runs] = the sum of each run of `count` values, in fp64 in a fixed order.      values [runs, count]      partial
//   [runs, GATE_SLICES] fp64, scratch
cudaError_t launch_sum_runs(const float *values, int64_t runs, int64_t count, double *partial, float *sums,
                            cudaStream_t stream);

}  // namespace duo::cuda
