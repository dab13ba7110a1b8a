// One warp per head vector: its gradient is read once and stays in registers for all windows.
#include "cuda/ladder_products.h"

#include "cuda/branch_gradient.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int QUADS = 2;  // of a lane: head_dim up to 256

__global__ void ladder_delta_kernel(const LadderProducts a) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
  if (item >= a.num_rows * a.heads) return;
  const int lane = threadIdx.x % 32;
  const int64_t items = a.num_rows * a.heads, at = item * a.head_dim + lane * 4,
                to = item % a.heads * a.num_rows + item / a.heads;
  float gradient[QUADS][4] = {}, with_mixed = 0.0f;
#pragma unroll
  for (int quad = 0; quad < QUADS; quad++) {
    if (quad * 128 + lane * 4 >= a.head_dim) continue;
    const uint2 d = *reinterpret_cast<const uint2 *>(a.d_mixed + at + quad * 128),
                m = *reinterpret_cast<const uint2 *>(a.mixed + at + quad * 128);
    gradient[quad][0] = widen_low(d.x), gradient[quad][1] = widen_high(d.x), gradient[quad][2] = widen_low(d.y),
    gradient[quad][3] = widen_high(d.y);
    with_mixed += gradient[quad][0] * widen_low(m.x) + gradient[quad][1] * widen_high(m.x) +
                  gradient[quad][2] * widen_low(m.y) + gradient[quad][3] * widen_high(m.y);
  }
  with_mixed = sum_warp(with_mixed);
  if (lane == 0) a.full_delta[to] = with_mixed;
  for (int64_t window = 0; window < a.num_windows; window++) {
    float sum = 0.0f;
#pragma unroll
    for (int quad = 0; quad < QUADS; quad++) {
      if (quad * 128 + lane * 4 >= a.head_dim) continue;
      const float4 e = *reinterpret_cast<const float4 *>(a.differences + window * items * a.head_dim + at + quad * 128);
      sum += gradient[quad][0] * e.x + gradient[quad][1] * e.y + gradient[quad][2] * e.z + gradient[quad][3] * e.w;
    }
    sum = sum_warp(sum);
    if (lane == 0) a.deltas[window * items + to] = sum;
  }
}

}  // namespace

cudaError_t launch_ladder_products(const LadderProducts &a, cudaStream_t stream) {
  const Grid grid{dim3(static_cast<unsigned>(ceil_divide(a.num_rows * a.heads, WARPS))), THREADS};
  if (const cudaError_t error = launch(grid, stream, ladder_delta_kernel, a); error != cudaSuccess) return error;
  return launch_sum_runs(a.deltas, a.num_windows * a.kv_heads, a.heads / a.kv_heads * a.num_rows, a.partial, a.products,
                         stream);
}

}  // namespace duo::cuda
