// The orthonormal Walsh–Hadamard transform of head vectors of D elements, in the registers that hold them: what rotated KV caches are written, read and undone with. The sums are the CPU's (cpu/simd/hadamard_body.h),
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

// A vector is transformed in blocks, the largest powers of two that fit: 80 = 64 + 16.
__host__ __device__ constexpr int hadamard_block_size(int left) {
  int size = 1;
  while (2 * size <= left) size *= 2;
  return size;
}

// Blocks from element BEGIN on of a vector whose element 32w + lane is words[w].
template <int D, int BEGIN = 0>
__device__ __forceinline__ void transform_words(float (&words)[(D + 31) / 32]) {
  constexpr int SIZE = hadamard_block_size(D - BEGIN), FIRST = BEGIN / 32, COUNT = (SIZE + 31) / 32;
  static_assert(BEGIN % 32 == 0);
  const float unit = 1.0f / sqrtf(static_cast<float>(SIZE));
#pragma unroll
  for (int w = FIRST; w < FIRST + COUNT; w++) {
    for (int lanes = 1; lanes < 32 && lanes < SIZE; lanes *= 2) add_and_subtract_lanes(words[w], lanes);
  }
#pragma unroll
  for (int half = 1; half < COUNT; half *= 2) {
#pragma unroll
    for (int w = 0; w < COUNT; w++) {
      if ((w & half) == 0) add_and_subtract(words[FIRST + w], words[FIRST + w + half]);
    }
  }
#pragma unroll
  for (int w = FIRST; w < FIRST + COUNT; w++) words[w] *= unit;
  if constexpr (BEGIN + SIZE < D) transform_words<D, BEGIN + SIZE>(words);
}

// A warp's head vector. Its second half begins on a lane of its own where D/2 is no multiple of 32, and is moved to the
// lanes of transform_words and back.
template <int D>
__device__ __forceinline__ void transform_vector(HeadVector &v) {
  constexpr int HALF = D / 2, WORDS = (D + 31) / 32, PAIRS = (HALF + 31) / 32;
  static_assert(PAIRS <= HeadVector::PAIRS);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float words[WORDS];
#pragma unroll
  for (int w = 0; w < WORDS; w++) {
    if constexpr (HALF % 32 == 0) {
      words[w] = w < PAIRS ? v.first[w] : v.second[w - PAIRS];
    } else {
      const int from = 32 * w + lane - HALF;  // place in the second half
      words[w] = w < PAIRS && from < 0 ? v.first[w < PAIRS ? w : 0] : 0.0f;
#pragma unroll
      for (int p = 0; p < PAIRS; p++) {
        const float other = __shfl_sync(ALL_LANES, v.second[p], from & 31);
        if (from >= 32 * p && from < 32 * (p + 1)) words[w] = other;
      }
    }
  }
  transform_words<D>(words);
#pragma unroll
  for (int p = 0; p < PAIRS; p++) {
    v.first[p] = words[p];
    if constexpr (HALF % 32 == 0) {
      v.second[p] = words[p + PAIRS];
    } else {
      const int to = HALF + 32 * p + lane;
#pragma unroll
      for (int w = 0; w < WORDS; w++) {
        const float other = __shfl_sync(ALL_LANES, words[w], to & 31);
        if (to / 32 == w) v.second[p] = other;
      }
    }
  }
}

// A row of an output of tensor cores, which four neighbouring lanes share: at(n, i) is element 8n + 2·(lane mod 4) + i.
// The whole warp calls it.
template <int D, int BEGIN = 0, typename At>
__device__ __forceinline__ void transform_row(const At &at) {
  constexpr int SIZE = hadamard_block_size(D - BEGIN), FIRST = BEGIN / 8, COUNT = SIZE / 8;
  static_assert(SIZE >= 8);
  const float unit = 1.0f / sqrtf(static_cast<float>(SIZE));
#pragma unroll
  for (int n = FIRST; n < FIRST + COUNT; n++) {
    add_and_subtract(at(n, 0), at(n, 1));
    for (int i = 0; i < 2; i++) add_and_subtract_lanes(at(n, i), 1), add_and_subtract_lanes(at(n, i), 2);
  }
#pragma unroll
  for (int half = 1; half < COUNT; half *= 2) {
#pragma unroll
    for (int n = 0; n < COUNT; n++) {
      if ((n & half) != 0) continue;
      for (int i = 0; i < 2; i++) add_and_subtract(at(FIRST + n, i), at(FIRST + n + half, i));
    }
  }
#pragma unroll
  for (int n = FIRST; n < FIRST + COUNT; n++) {
    for (int i = 0; i < 2; i++) at(n, i) *= unit;
  }
  if constexpr (BEGIN + SIZE < D) transform_row<D, BEGIN + SIZE>(at);
}

}  // namespace duo::cuda
