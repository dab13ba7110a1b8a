// Inner products of a gradient of the heads' outputs with what each window of a ladder takes from them: ⟨d, full −
// window⟩ of every KV head and window, for sketches. The differences are fp32: a wide window changes an output by less
// than a 16-bit float rounds it.
#pragma once
#include "cuda/attention.h"

namespace duo::cuda {

struct LadderProducts {
  int32_t heads, kv_heads, head_dim;
  int64_t num_rows, num_windows;
  const bf16 *d_mixed, *mixed;  // [rows, H, D]
  const float *differences;     // [windows, rows, H, D]
  float *full_delta;            // [H, rows] written: ⟨d, mixed⟩, which attention backward reads
  float *deltas;                // [windows, H, rows] written: ⟨d, difference⟩
  double *partial;              // [windows, G, GATE_SLICES] scratch
  float *products;  // [windows, G] written: sums of deltas over a KV head's group and rows, in fp64 in a fixed order
};
cudaError_t launch_ladder_products(const LadderProducts &products, cudaStream_t stream);

}  // namespace duo::cuda
