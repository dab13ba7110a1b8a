// Codes of packed weights (core/packed_weights.h) as operands of tensor cores, and the sums of a group scaled: what the
// products of few vectors share.
#pragma once
#include "cuda/warp_fragments.h"

namespace duo::cuda {

constexpr uint32_t ONE_PAIR = 0x3f803f80u;  // two bf16 ones

// A pair of codes of four bits as bf16, each 128 too great: the bits of 128 + code are 0x4300 + code.
__device__ __forceinline__ uint32_t spread_nibbles(uint32_t word, int pair) {
  return (word >> (4 * pair) & 0x000f000fu) | 0x43004300u;
}

// sum += scale · (codes · vectors) + minimum · (ones · vectors) of 16 rows and a group. low, high: of the lane's two
// rows, fp16 scale and minimum.
__device__ __forceinline__ void add_group(float sum[4], const float codes[4], const float ones[2], float low_scale,
                                          float low_minimum, float high_scale, float high_minimum) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    sum[i] += low_scale * codes[i] + low_minimum * ones[i];
    sum[2 + i] += high_scale * codes[2 + i] + high_minimum * ones[i];
  }
}
__device__ __forceinline__ float low_half(uint32_t word) { return widen_half(static_cast<uint16_t>(word & 0xffffu)); }
__device__ __forceinline__ float high_half(uint32_t word) { return widen_half(static_cast<uint16_t>(word >> 16)); }

}  // namespace duo::cuda
