// dot4 of one instruction set: lane i of the result is acc[i] + Σ of four products of codes[4i … 4i+3] with the four
// int8 of `four`, exact in int32. Codes are unsigned and at most 127 (WIDE: any byte), or int8 where DOT_IS_SIGNED, or
// where WIDE and not DOT_TAKES_WIDE_UNSIGNED. Activation codes lie in −127 … 127.
#pragma once
#include "cpu/simd/vector.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace duo {
namespace {

typedef uint8_t Codes __attribute__((vector_size(DUO_ISA_FLOATS * 4)));

#if DUO_ISA_FLOATS == 16
#if defined(DUO_BLOCKS_VNNI)
constexpr bool DOT_IS_SIGNED = false, DOT_TAKES_WIDE_UNSIGNED = true;
template <bool WIDE>
DUO_INLINE IntVector dot4(IntVector acc, Codes codes, int32_t four) {
  return reinterpret_cast<IntVector>(
      _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(acc), reinterpret_cast<__m512i>(codes), _mm512_set1_epi32(four)));
}
#else
// vpmaddubsw saturates pairs beyond 2^15: codes of up to 127 do not reach it (127·127·2), wide ones go by magnitude and
// sign (128·127·2).
constexpr bool DOT_IS_SIGNED = false, DOT_TAKES_WIDE_UNSIGNED = false;
template <bool WIDE>
DUO_INLINE IntVector dot4(IntVector acc, Codes codes, int32_t four) {
  __m512i weight = reinterpret_cast<__m512i>(codes), x = _mm512_set1_epi32(four);
  if constexpr (WIDE) {
    x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(weight), _mm512_setzero_si512(), x);
    weight = _mm512_maskz_abs_epi8(~__mmask64{0}, weight);
  }
  const __m512i pairs = _mm512_maddubs_epi16(weight, x);
  return reinterpret_cast<IntVector>(
      _mm512_add_epi32(reinterpret_cast<__m512i>(acc), _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))));
}
#endif
#elif DUO_ISA_FLOATS == 8
#if defined(DUO_BLOCKS_VNNI)
constexpr bool DOT_IS_SIGNED = false, DOT_TAKES_WIDE_UNSIGNED = true;
template <bool WIDE>
DUO_INLINE IntVector dot4(IntVector acc, Codes codes, int32_t four) {
  return reinterpret_cast<IntVector>(_mm256_dpbusd_avx_epi32(
      reinterpret_cast<__m256i>(acc), reinterpret_cast<__m256i>(codes), _mm256_set1_epi32(four)));
}
#else
constexpr bool DOT_IS_SIGNED = false, DOT_TAKES_WIDE_UNSIGNED = false;
template <bool WIDE>
DUO_INLINE IntVector dot4(IntVector acc, Codes codes, int32_t four) {
  __m256i weight = reinterpret_cast<__m256i>(codes), x = _mm256_set1_epi32(four);
  if constexpr (WIDE) {
    x = _mm256_sign_epi8(x, weight);
    weight = _mm256_abs_epi8(weight);
  }
  const __m256i pairs = _mm256_maddubs_epi16(weight, x);
  return reinterpret_cast<IntVector>(
      _mm256_add_epi32(reinterpret_cast<__m256i>(acc), _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
}
#endif
#elif defined(__aarch64__) && !defined(DUO_BLOCKS_PLAIN)
constexpr bool DOT_IS_SIGNED = true, DOT_TAKES_WIDE_UNSIGNED = false;
template <bool WIDE>
DUO_INLINE IntVector dot4(IntVector acc, Codes codes, int32_t four) {
  const int8x16_t weight = vreinterpretq_s8_u8(reinterpret_cast<uint8x16_t>(codes)),
                  x = vreinterpretq_s8_s32(vdupq_n_s32(four));
#if defined(__ARM_FEATURE_DOTPROD)
  return reinterpret_cast<IntVector>(vdotq_s32(reinterpret_cast<int32x4_t>(acc), weight, x));
#else
  // Pairs fit int16: 128·127·2.
  const int16x8_t low = vmull_s8(vget_low_s8(weight), vget_low_s8(x)), high = vmull_high_s8(weight, x);
  return reinterpret_cast<IntVector>(
      vaddq_s32(reinterpret_cast<int32x4_t>(acc), vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))));
#endif
}
#else
constexpr bool DOT_IS_SIGNED = true, DOT_TAKES_WIDE_UNSIGNED = false;
template <bool WIDE>
DUO_INLINE IntVector dot4(IntVector acc, Codes codes, int32_t four) {
  IntVector bits;
  __builtin_memcpy(&bits, &codes, sizeof bits);
  for (int byte = 0; byte < 4; byte++)
    acc += ((bits << (24 - 8 * byte)) >> 24) *
           (static_cast<int32_t>(static_cast<uint32_t>(four) << (24 - 8 * byte)) >> 24);
  return acc;
}
#endif

}  // namespace
}  // namespace duo
