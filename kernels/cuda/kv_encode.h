// Writing one head vector into a KV cache's format, by one warp.
#pragma once
#include "cuda/kv_formats.h"

namespace duo::cuda {

// vector [D] in shared memory, seen by the whole warp → row, and its scale word where the format has one.
__device__ __forceinline__ void encode_vector(Dtype dtype, const float *vector, int head_dim, uint8_t *row,
                                              uint32_t *scale) {
  const int lane = threadIdx.x % 32;
  if (dtype == Dtype::f32) {
    for (int i = lane; i < head_dim; i += 32) reinterpret_cast<float *>(row)[i] = vector[i];
    return;
  }
  if (dtype == Dtype::bf16) {
    for (int i = lane; i < head_dim / 2; i += 32)
      reinterpret_cast<uint32_t *>(row)[i] = pack_bf16(vector[2 * i], vector[2 * i + 1]);
    return;
  }
  if (dtype == Dtype::f16) {
    for (int i = lane; i < head_dim / 2; i += 32)
      reinterpret_cast<uint32_t *>(row)[i] = pack_as<Half::f16>(vector[2 * i], vector[2 * i + 1]);
    return;
  }
  float largest = 0.0f, smallest = 0.0f;  // 0 is always inside int4's range, so its zero is one of 0…15
  for (int i = lane; i < head_dim; i += 32) {
    largest = fmaxf(largest, vector[i]);
    smallest = fmaxf(smallest, -vector[i]);
  }
  largest = max_warp(largest);
  smallest = max_warp(smallest);
  if (dtype == Dtype::int4) {
    const uint16_t half_scale = narrow_half((largest + smallest) * (1.0f / 15.0f));
    const float step = widen_half(half_scale), inverse = step > 0.0f ? 1.0f / step : 0.0f;
    const float zero = fminf(15.0f, rintf(smallest * inverse));
    for (int i = lane; i < kv_row_bytes(Dtype::int4, head_dim); i += 32) {
      if (i >= head_dim / 2) {
        row[i] = 0;
        continue;
      }
      const float low = fminf(15.0f, fmaxf(0.0f, rintf(vector[2 * i] * inverse) + zero));
      const float high = fminf(15.0f, fmaxf(0.0f, rintf(vector[2 * i + 1] * inverse) + zero));
      row[i] = static_cast<uint8_t>(static_cast<uint32_t>(low) | static_cast<uint32_t>(high) << 4);
    }
    if (lane == 0) *scale = half_scale | static_cast<uint32_t>(narrow_half(zero)) << 16;
    return;
  }
  const float magnitude = fmaxf(largest, smallest),
              step = magnitude * (dtype == Dtype::int8 ? 1.0f / 127.0f : 1.0f / 448.0f);
  const float inverse = step > 0.0f ? 1.0f / step : 0.0f;
  for (int i = lane; i < head_dim; i += 32) {
    const float value = vector[i] * inverse;
    row[i] = dtype == Dtype::int8
                 ? static_cast<uint8_t>(static_cast<int8_t>(fminf(127.0f, fmaxf(-127.0f, rintf(value)))))
                 : static_cast<uint8_t>(float_to_fp8(value));
  }
  if (lane == 0) {
#ifdef DUO_EMULATION
    *scale = float_to_bits(step);
#else
    *scale = __float_as_uint(step);
#endif
  }
}

}  // namespace duo::cuda
