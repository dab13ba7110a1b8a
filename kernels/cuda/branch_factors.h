// What both backward kernels need first: the factors of the branches in a head's gradient.
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

}  // namespace duo::cuda
