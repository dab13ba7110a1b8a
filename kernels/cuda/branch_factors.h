// What both backward kernels ask first: the factors of the branches in a head's gradient, and which query rows see a
// key.
#pragma once
#include "cuda/attention.h"

namespace duo::cuda {

// Factors of the two branches in a head's gradient.
struct Factors {
  float full, stream;
};
__device__ __forceinline__ Factors branch_factors(const AttentionBackward &a, int kv_head) {
  const float gate = a.gates[kv_head];
  return {a.full_is_constant ? 0.0f : gate, 1.0f - gate};
}

// The first of the ascending `positions` that is at least `bound`.
__device__ __forceinline__ int64_t first_at_least(const int32_t *positions, int64_t count, int64_t bound) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (positions[middle] < bound) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace duo::cuda
