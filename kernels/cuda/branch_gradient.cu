// One thread per four elements for the difference, one warp per head vector for the deltas, GATE_SLICES blocks per KV head for
// the gates' sums.
#include "cuda/branch_gradient.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256, WARPS = THREADS / 32;

__global__ void difference_kernel(const float4 *full, const float4 *stream, int64_t pieces, uint2 *difference) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= pieces) return;
  const float4 a = full[i], b = stream[i];
  difference[i] = make_uint2(pack_bf16(a.x - b.x, a.y - b.y), pack_bf16(a.z - b.z, a.w - b.w));
}

__device__ __forceinline__ float multiply_pairs(uint2 a, uint2 b) {
  return widen_low(a.x) * widen_low(b.x) + widen_high(a.x) * widen_high(b.x) + widen_low(a.y) * widen_low(b.y) +
         widen_high(a.y) * widen_high(b.y);
}

__global__ void delta_kernel(const AttentionBackward a, const bf16 *mixed, const bf16 *difference) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
  if (item >= a.num_rows * a.shape.heads) return;
  const int64_t at = item * a.shape.head_dim, row = item / a.shape.heads, head = item % a.shape.heads;
  float with_mixed = 0.0f, with_difference = 0.0f;
  for (int i = threadIdx.x % 32 * 4; i < a.shape.head_dim; i += 128) {
    const uint2 d = *reinterpret_cast<const uint2 *>(a.d_mixed + at + i);
    with_mixed += multiply_pairs(d, *reinterpret_cast<const uint2 *>(mixed + at + i));
    with_difference += multiply_pairs(d, *reinterpret_cast<const uint2 *>(difference + at + i));
  }
  with_mixed = sum_warp(with_mixed);
  with_difference = sum_warp(with_difference);
  if (threadIdx.x % 32 != 0) return;
  const float gate = a.gates[head / a.shape.group()];
  const int64_t to = head * a.num_rows + row;
  a.full_delta[to] = with_mixed + (1.0f - gate) * with_difference;
  a.stream_delta[to] = with_mixed - gate * with_difference;
  a.gate_delta[to] = with_difference;
}

// Block (slice, run): of a gate's gradient a run is the rows of a KV head's group, which lie together.
__global__ void gate_slice_kernel(const float *gate_delta, int64_t count, double *partial) {
  double *scratch = reinterpret_cast<double *>(shared_memory());
  const int64_t slice = ceil_divide(count, GATE_SLICES), begin = blockIdx.x * slice,
                end = begin + slice < count ? begin + slice : count;
  const float *from = gate_delta + static_cast<int64_t>(blockIdx.y) * count;
  double sum = 0.0;
  for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) sum += static_cast<double>(from[i]);
  sum = sum_block(sum, scratch);
  if (threadIdx.x == 0) partial[static_cast<int64_t>(blockIdx.y) * GATE_SLICES + blockIdx.x] = sum;
}
__global__ void gate_sum_kernel(const double *partial, float *d_gates) {
  double *scratch = reinterpret_cast<double *>(shared_memory());
  const double sum = sum_block(partial[static_cast<int64_t>(blockIdx.x) * GATE_SLICES + threadIdx.x], scratch);
  if (threadIdx.x == 0) d_gates[blockIdx.x] = static_cast<float>(sum);
}

}  // namespace

cudaError_t launch_branch_difference(const float *full, const float *stream, int64_t count, bf16 *difference,
                                     cudaStream_t stream_) {
  return launch({dim3(static_cast<unsigned>(ceil_divide(count / 4, THREADS))), THREADS}, stream_, difference_kernel,
                reinterpret_cast<const float4 *>(full), reinterpret_cast<const float4 *>(stream), count / 4,
                reinterpret_cast<uint2 *>(difference));
}

cudaError_t launch_branch_deltas(const AttentionBackward &a, const bf16 *mixed, const bf16 *difference, double *partial,
                                 cudaStream_t stream) {
  const cudaError_t error =
      launch({dim3(static_cast<unsigned>(ceil_divide(a.num_rows * a.shape.heads, WARPS))), THREADS}, stream,
             delta_kernel, a, mixed, difference);
  if (error != cudaSuccess) return error;
  return launch_sum_runs(a.gate_delta, a.shape.kv_heads, a.shape.group() * a.num_rows, partial, a.d_gates, stream);
}

cudaError_t launch_sum_runs(const float *values, int64_t runs, int64_t count, double *partial, float *sums,
                            cudaStream_t stream) {
  const Grid slices{dim3(GATE_SLICES, static_cast<unsigned>(runs)), THREADS, WARPS * sizeof(double)};
  const cudaError_t error = launch(slices, stream, gate_slice_kernel, values, count, partial);
  if (error != cudaSuccess) return error;
  return launch({dim3(static_cast<unsigned>(runs)), GATE_SLICES, GATE_SLICES / 32 * sizeof(double)}, stream,
                gate_sum_kernel, partial, sums);
}

}  // namespace duo::cuda
