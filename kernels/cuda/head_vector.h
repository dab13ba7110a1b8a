// What a warp does with one head vector: loads it, norms it (Q/K norm), rotates it ("rotate half"), stores it.
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

// Head vectors of up to 256 elements, element i and its partner i + D/2 on lanes: lane holds pairs lane, lane + 32 …,
// zeros past the end.
struct HeadVector {
  static constexpr int PAIRS = 4;
  float first[PAIRS], second[PAIRS];
};

template <Half HALF = Half::bf16>
__device__ __forceinline__ HeadVector load_vector(const bf16 *from, int head_dim) {
  HeadVector v;
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    const int i = threadIdx.x % 32 + 32 * p;
    const bool is_inside = 32 * p < head_dim / 2 && i < head_dim / 2;
    v.first[p] = is_inside ? widen_as<HALF>(from[i]) : 0.0f;
    v.second[p] = is_inside ? widen_as<HALF>(from[i + head_dim / 2]) : 0.0f;
  }
  return v;
}

// From fp32 in any layout: at(i) is element i.
template <typename At>
__device__ __forceinline__ HeadVector gather_vector(int head_dim, const At &at) {
  HeadVector v;
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    const int i = threadIdx.x % 32 + 32 * p;
    const bool is_inside = 32 * p < head_dim / 2 && i < head_dim / 2;
    v.first[p] = is_inside ? at(i) : 0.0f;
    v.second[p] = is_inside ? at(i + head_dim / 2) : 0.0f;
  }
  return v;
}

__device__ __forceinline__ void normalize_vector(HeadVector &v, const float *weight, int head_dim, float eps) {
  float square = 0.0f;
  for (int p = 0; p < HeadVector::PAIRS; p++) square += v.first[p] * v.first[p] + v.second[p] * v.second[p];
  const float scale = 1.0f / sqrtf(sum_warp(square) / static_cast<float>(head_dim) + eps);
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    const int i = threadIdx.x % 32 + 32 * p;
    if (32 * p >= head_dim / 2) break;
    if (i >= head_dim / 2) continue;
    v.first[p] *= scale * weight[i];
    v.second[p] *= scale * weight[i + head_dim / 2];
  }
}

// `direction` −1 turns back.
__device__ __forceinline__ void rotate_vector(HeadVector &v, const float *cosine, const float *sine, int head_dim,
                                              float direction) {
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    const int i = threadIdx.x % 32 + 32 * p;
    if (32 * p >= head_dim / 2) break;
    if (i >= head_dim / 2) continue;
    const float c = cosine[i], s = sine[i] * direction, first = v.first[p], second = v.second[p];
    v.first[p] = first * c - second * s;
    v.second[p] = second * c + first * s;
  }
}

template <Half HALF = Half::bf16>
__device__ __forceinline__ void store_vector(const HeadVector &v, bf16 *to, int head_dim) {
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    const int i = threadIdx.x % 32 + 32 * p;
    if (32 * p >= head_dim / 2) break;
    if (i >= head_dim / 2) continue;
    to[i] = narrow_as<HALF>(v.first[p]);
    to[i + head_dim / 2] = narrow_as<HALF>(v.second[p]);
  }
}

// As fp32, for another layout.
__device__ __forceinline__ void spread_vector(const HeadVector &v, float *to, int head_dim) {
  for (int p = 0; p < HeadVector::PAIRS; p++) {
    const int i = threadIdx.x % 32 + 32 * p;
    if (32 * p >= head_dim / 2) break;
    if (i >= head_dim / 2) continue;
    to[i] = v.first[p];
    to[i + head_dim / 2] = v.second[p];
  }
}

}  // namespace duo::cuda
