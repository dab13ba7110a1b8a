// The orthonormal Walsh–Hadamard transform of head vectors of D elements, a power of two, in the registers that hold
// them: what rotated KV caches are written, read and undone with. The sums are the CPU's (cpu/simd/hadamard_body.h),
// neighbours first.
#pragma once
#include "cuda/head_vector.h"

namespace duo::cuda {

__device__ __forceinline__ void add_and_subtract(float &a, float &b) {
  const float sum = a + b;
  b = a - b;
  a = sum;
}
// The same across lanes: of two, `lanes` apart, the lower has the sum.
__device__ __forceinline__ void add_and_subtract_lanes(float &x, int lanes) {
  const float other = __shfl_xor_sync(ALL_LANES, x, lanes);
  x = (static_cast<int>(threadIdx.x) & lanes) != 0 ? other - x : x + other;
}

// A warp's head vector: bits 0 to 4 of an element's number are the lane, the next is the pair (D = 128), the last is
// first or second.
__device__ __forceinline__ void transform_vector(HeadVector &v, int head_dim) {
  const int half = head_dim / 2;
  const float unit = 1.0f / sqrtf(static_cast<float>(head_dim));
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    if (32 * p >= half) break;
    for (int lanes = 1; lanes < 32 && lanes < half; lanes *= 2)
      add_and_subtract_lanes(v.first[p], lanes), add_and_subtract_lanes(v.second[p], lanes);
  }
  static_assert(HeadVector::PAIRS == 2);
  if (half > 32) add_and_subtract(v.first[0], v.first[1]), add_and_subtract(v.second[0], v.second[1]);
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    add_and_subtract(v.first[p], v.second[p]);
    v.first[p] *= unit, v.second[p] *= unit;
  }
}

// A row of an output of tensor cores, which four neighbouring lanes share: at(n, i) is element 8n + 2·(lane mod 4) + i.
// The whole warp calls it.
template <int D, typename At>
__device__ __forceinline__ void transform_row(const At &at) {
  static_assert(D >= 16 && (D & (D - 1)) == 0);
  const float unit = 1.0f / sqrtf(static_cast<float>(D));
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    add_and_subtract(at(n, 0), at(n, 1));
    for (int i = 0; i < 2; i++) add_and_subtract_lanes(at(n, i), 1), add_and_subtract_lanes(at(n, i), 2);
  }
#pragma unroll
  for (int half = 1; half < D / 8; half *= 2) {
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
      if ((n & half) != 0) continue;
      for (int i = 0; i < 2; i++) add_and_subtract(at(n, i), at(n + half, i));
    }
  }
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    for (int i = 0; i < 2; i++) at(n, i) *= unit;
  }
}

}  // namespace duo::cuda
