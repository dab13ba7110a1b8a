// Element types of weights and caches, and the conversions between fp32, bf16 and fp16 that every backend shares.
#pragma once
#include <cstdint>
#include <cstring>

#include "duo.h"

// Before a function that kernels call too.
#ifdef __CUDACC__
#define DUO_HOST_DEVICE __host__ __device__
#else
#define DUO_HOST_DEVICE
#endif

namespace duo {

enum class Dtype : int32_t {
  stored = DUO_DTYPE_STORED,
  f32 = DUO_DTYPE_F32,
  f16 = DUO_DTYPE_F16,
  bf16 = DUO_DTYPE_BF16,
  int8 = DUO_DTYPE_INT8,
  fp8 = DUO_DTYPE_FP8,
  int4 = DUO_DTYPE_INT4,
  k8v4 = DUO_DTYPE_K8V4,
  // Weights of GGUF files, in blocks (gguf_blocks.h): 256 + the type's number in ggml. Never across the ABI.
  q4_0 = 256 + 2,
  q4_1 = 256 + 3,
  q5_0 = 256 + 6,
  q5_1 = 256 + 7,
  q8_0 = 256 + 8,
  q2_k = 256 + 10,
  q3_k = 256 + 11,
  q4_k = 256 + 12,
  q5_k = 256 + 13,
  q6_k = 256 + 14,
};

// Stored in blocks of several elements that share scales.
inline bool is_quantized(Dtype dtype) { return static_cast<int32_t>(dtype) >= 256; }

// What keys and values of a cache of this dtype are stored as.
DUO_HOST_DEVICE constexpr Dtype key_dtype(Dtype cache) { return cache == Dtype::k8v4 ? Dtype::int8 : cache; }
DUO_HOST_DEVICE constexpr Dtype value_dtype(Dtype cache) { return cache == Dtype::k8v4 ? Dtype::int4 : cache; }

// Bytes of one element; 0 for int4, packed two to a byte, and for what is stored in blocks.
inline int64_t dtype_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return 4;
    case Dtype::f16:
    case Dtype::bf16: return 2;
    case Dtype::int8:
    case Dtype::fp8: return 1;
    default: return 0;
  }
}

inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float bf16_to_float(uint16_t value) { return bits_to_float(static_cast<uint32_t>(value) << 16); }

// Round to nearest even; NaN stays NaN.
inline uint16_t float_to_bf16(float value) {
  uint32_t bits = float_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_float(uint16_t value) {
  const uint32_t sign = static_cast<uint32_t>(value & 0x8000u) << 16;
  const uint32_t exponent = (value >> 10) & 0x1fu, mantissa = value & 0x3ffu;
  if (exponent == 31) return bits_to_float(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return bits_to_float(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24, subnormal
  return sign ? -magnitude : magnitude;
}

// Round to nearest even; from 65520 on infinite.
inline uint16_t round_to_f16(float value) {
  uint32_t bits = float_to_bits(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  // Below 2^-14 the unit is 2^-24: adding 0.5, whose own unit is 2^-24, rounds to it.
  if (bits < 0x38800000u)
    return static_cast<uint16_t>(sign | (float_to_bits(bits_to_float(bits) + 0.5f) - 0x3f000000u));
  bits += 0xfffu + (bits >> 13 & 1u);
  return static_cast<uint16_t>(sign | ((bits - 0x38000000u) >> 13));
}

}  // namespace duo
