// One warp a head vector: its gradient is read once and stays in registers for all windows. head_dim 32, 64 or 128, so
// at most four elements a lane.
#include "cuda/ladder_products.h"

#include "cuda/branch_gradient.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256, WARPS = THREADS / 32;

__global__ void ladder_delta_kernel(const LadderProducts a) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
  if (item >= a.num_rows * a.heads) return;
  const int lane = threadIdx.x % 32;
  const int64_t at = item * a.head_dim + lane * 4, to = item % a.heads * a.num_rows + item / a.heads;
  float gradient[4] = {0.0f, 0.0f, 0.0f, 0.0f}, with_mixed = 0.0f;
  const bool is_inside = lane * 4 < a.head_dim;
  if (is_inside) {
    const uint2 d = *reinterpret_cast<const uint2 *>(a.d_mixed + at),
                m = *reinterpret_cast<const uint2 *>(a.mixed + at);
    gradient[0] = widen_low(d.x), gradient[1] = widen_high(d.x), gradient[2] = widen_low(d.y),
    gradient[3] = widen_high(d.y);
    with_mixed = gradient[0] * widen_low(m.x) + gradient[1] * widen_high(m.x) + gradient[2] * widen_low(m.y) +
                 gradient[3] * widen_high(m.y);
  }
  with_mixed = sum_warp(with_mixed);
  if (lane == 0) a.full_delta[to] = with_mixed;
  const int64_t items = a.num_rows * a.heads;
  for (int64_t window = 0; window < a.num_windows; window++) {
    float sum = 0.0f;
    if (is_inside) {
      const float4 e = *reinterpret_cast<const float4 *>(a.differences + window * items * a.head_dim + at);
      sum = gradient[0] * e.x + gradient[1] * e.y + gradient[2] * e.z + gradient[3] * e.w;
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
