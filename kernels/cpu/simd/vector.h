// A SIMD vector of DUO_ISA_FLOATS floats over the compiler's vector extensions, so that one body serves every
// instruction set. Only isa_*.cpp may include this, after defining DUO_ISA_FLOATS; everything is in an unnamed
// namespace and always inlined, because an out-of-line copy compiled for one instruction set could be linked into code
// for another.
#pragma once
#include <cstdint>
#include <cstring>

#include "duo.h"
#if defined(__x86_64__) && defined(__F16C__)
#include <immintrin.h>
#endif

#define DUO_INLINE static inline __attribute__((always_inline))

namespace duo {
namespace {

constexpr int64_t WIDTH = DUO_ISA_FLOATS;

typedef float Vector __attribute__((vector_size(DUO_ISA_FLOATS * 4)));
typedef int32_t IntVector __attribute__((vector_size(DUO_ISA_FLOATS * 4)));
typedef uint16_t HalfVector __attribute__((vector_size(DUO_ISA_FLOATS * 2)));
typedef uint32_t BitsVector __attribute__((vector_size(DUO_ISA_FLOATS * 4)));
typedef int8_t ByteVector __attribute__((vector_size(DUO_ISA_FLOATS)));

DUO_INLINE Vector load(const float *from) {
  Vector value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
DUO_INLINE void store(float *to, Vector value) { __builtin_memcpy(to, &value, sizeof value); }
DUO_INLINE Vector broadcast(float value) { return value - Vector{}; }

// Elements of a weight or cache row, at any alignment.
DUO_INLINE Vector load_f32(const void *from, int64_t index) {
  return load(reinterpret_cast<const float *>(static_cast<const char *>(from) + index * 4));
}
DUO_INLINE Vector load_bf16(const void *from, int64_t index) {
  HalfVector half;
  __builtin_memcpy(&half, static_cast<const char *>(from) + index * 2, sizeof half);
  const BitsVector bits = __builtin_convertvector(half, BitsVector) << 16;
  Vector value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

DUO_INLINE float scalar_f32(const void *from, int64_t index) {
  float value;
  __builtin_memcpy(&value, static_cast<const char *>(from) + index * 4, 4);
  return value;
}
DUO_INLINE float scalar_bf16(const void *from, int64_t index) {
  uint16_t half;
  __builtin_memcpy(&half, static_cast<const char *>(from) + index * 2, 2);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
DUO_INLINE float scalar_f16(const void *from, int64_t index) {
  uint16_t half;
  __builtin_memcpy(&half, static_cast<const char *>(from) + index * 2, 2);
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, exponent = (half >> 10) & 0x1fu,
                 mantissa = half & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24, subnormal
    return sign ? -magnitude : magnitude;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | (mantissa << 13);
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
DUO_INLINE Vector load_f16(const void *from, int64_t index) {
#if defined(__x86_64__) && defined(__F16C__) && DUO_ISA_FLOATS == 16
  __m256i half;
  __builtin_memcpy(&half, static_cast<const char *>(from) + index * 2, sizeof half);
  return reinterpret_cast<Vector>(_mm512_maskz_cvtph_ps(0xffff, half));  // the unmasked one trips a warning of GCC 12
#elif defined(__x86_64__) && defined(__F16C__) && DUO_ISA_FLOATS == 8
  __m128i half;
  __builtin_memcpy(&half, static_cast<const char *>(from) + index * 2, sizeof half);
  return reinterpret_cast<Vector>(_mm256_cvtph_ps(half));
#else
  Vector value;
  for (int64_t lane = 0; lane < WIDTH; lane++) value[lane] = scalar_f16(from, index + lane);
  return value;
#endif
}

// One load for each dtype, so that loops can be templates over it.
template <int32_t DTYPE>
DUO_INLINE Vector load_as(const void *from, int64_t index) {
  if constexpr (DTYPE == DUO_DTYPE_F32) return load_f32(from, index);
  if constexpr (DTYPE == DUO_DTYPE_BF16) return load_bf16(from, index);
  if constexpr (DTYPE == DUO_DTYPE_F16) return load_f16(from, index);
}
template <int32_t DTYPE>
DUO_INLINE float scalar_as(const void *from, int64_t index) {
  if constexpr (DTYPE == DUO_DTYPE_F32) return scalar_f32(from, index);
  if constexpr (DTYPE == DUO_DTYPE_BF16) return scalar_bf16(from, index);
  if constexpr (DTYPE == DUO_DTYPE_F16) return scalar_f16(from, index);
}

// Pairwise over lanes: a fixed tree.
DUO_INLINE float sum_lanes(Vector value) {
  float lanes[WIDTH];
  __builtin_memcpy(lanes, &value, sizeof lanes);
  for (int64_t half = WIDTH / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// 0, 1, … WIDTH−1.
DUO_INLINE IntVector lane_indices() {
  IntVector lanes{};
  for (int64_t lane = 0; lane < WIDTH; lane++) lanes[lane] = static_cast<int32_t>(lane);
  return lanes;
}

// Turn rows[i][j] into rows[j][i]: log2(WIDTH) rounds of interleaving.
DUO_INLINE void transpose(Vector rows[WIDTH]) {
  const IntVector lanes = lane_indices();
  const IntVector odd = (lanes & 1) * static_cast<int32_t>(WIDTH);  // odd lanes come from the second operand
  const IntVector low = (lanes >> 1) + odd, high = low + static_cast<int32_t>(WIDTH / 2);
#pragma GCC unroll 4
  for (int64_t round = 1; round < WIDTH; round *= 2) {
    Vector next[WIDTH];
#pragma GCC unroll 8
    for (int64_t i = 0; i < WIDTH / 2; i++) {
      next[2 * i] = __builtin_shuffle(rows[i], rows[i + WIDTH / 2], low);
      next[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + WIDTH / 2], high);
    }
#pragma GCC unroll 16
    for (int64_t i = 0; i < WIDTH; i++) rows[i] = next[i];
  }
}

DUO_INLINE Vector select(IntVector mask, Vector yes, Vector no) { return mask ? yes : no; }
DUO_INLINE Vector maximum(Vector a, Vector b) { return select(a > b, a, b); }

// e^x, relative error below 2e-7 for −87 <= x <= 88; 0 below. Cephes' range reduction and polynomial.
DUO_INLINE Vector exponential(Vector x) {
  const Vector clamped = maximum(x, broadcast(-87.0f));
  const Vector magic = broadcast(12582912.0f);  // 1.5·2^23: adding it rounds to an integer in the low mantissa bits
  const Vector shifted = clamped * 1.44269504088896341f + magic;
  const Vector n = shifted - magic;
  Vector r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vector p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  IntVector bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  const IntVector exponent = (bits - 0x4b400000 + 127) << 23;
  Vector scale;
  __builtin_memcpy(&scale, &exponent, sizeof scale);
  return select(x < broadcast(-87.0f), Vector{}, p * scale);
}

}  // namespace
}  // namespace duo
