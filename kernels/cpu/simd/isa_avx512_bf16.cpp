// Products of bf16 pairs for x86-64 with AVX512-BF16; null elsewhere.
#include "cpu/simd/bf16_ops.h"
#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#include <immintrin.h>

namespace duo {
namespace {

// The tile of the avx512 table: 24 of 32 registers hold sums.
constexpr int64_t TILE_ROWS = 12, TILE_VECTORS = 2, WIDTH = 16, TILE_COLUMNS = TILE_VECTORS * WIDTH;

inline __attribute__((always_inline)) __m512bh load_pairs(const float *from) {
  __m512bh value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

void multiply_tile(int64_t pairs, const float *a_panel, const float *b_panel, float *c, int64_t c_stride, int64_t rows,
                   int64_t columns, bool accumulate) {
  __m512 sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 16
  for (int64_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
    for (int64_t v = 0; v < TILE_VECTORS; v++) sum[r][v] = _mm512_setzero_ps();
  }
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t v = 0; v < TILE_VECTORS; v++) __builtin_prefetch(c + r * c_stride + v * WIDTH, 1);
  }
  for (int64_t k = 0; k < pairs; k++) {
    __m512bh b[TILE_VECTORS];
#pragma GCC unroll 2
    for (int64_t v = 0; v < TILE_VECTORS; v++) b[v] = load_pairs(b_panel + k * TILE_COLUMNS + v * WIDTH);
#pragma GCC unroll 16
    for (int64_t r = 0; r < TILE_ROWS; r++) {
      int32_t pair;
      __builtin_memcpy(&pair, a_panel + k * TILE_ROWS + r, sizeof pair);
      const __m512i repeated = _mm512_set1_epi32(pair);
      __m512bh a;
      __builtin_memcpy(&a, &repeated, sizeof a);
#pragma GCC unroll 2
      for (int64_t v = 0; v < TILE_VECTORS; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], a, b[v]);
    }
  }
  float spill[TILE_ROWS][TILE_COLUMNS];
  const bool whole = rows == TILE_ROWS && columns == TILE_COLUMNS;
#pragma GCC unroll 16
  for (int64_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
    for (int64_t v = 0; v < TILE_VECTORS; v++) {
      float *to = whole ? c + r * c_stride + v * WIDTH : &spill[r][v * WIDTH];
      _mm512_storeu_ps(to, whole && accumulate ? _mm512_add_ps(_mm512_loadu_ps(to), sum[r][v]) : sum[r][v]);
    }
  }
  if (whole) return;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t column = 0; column < columns; column++) {
      float *to = c + r * c_stride + column;
      *to = accumulate ? *to + spill[r][column] : spill[r][column];
    }
  }
}

void round_values(const float *x, int64_t count, uint16_t *out) {
  for (int64_t i = 0; i < count; i += WIDTH) {
    const int64_t left = count - i;
    const __mmask16 mask = left >= WIDTH ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + i));
    __m256i bits;
    __builtin_memcpy(&bits, &rounded, sizeof bits);
    _mm256_mask_storeu_epi16(out + i, mask, bits);
  }
}

void interleave(const void *even, const void *odd, int64_t columns, int64_t tile, float *panel) {
  const uint16_t *first = static_cast<const uint16_t *>(even), *second = static_cast<const uint16_t *>(odd);
  for (int64_t column = 0; column < tile; column += WIDTH) {
    const int64_t left = columns - column;
    const __mmask16 mask = left >= WIDTH ? 0xffff : left <= 0 ? 0 : static_cast<__mmask16>((1u << left) - 1);
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, first + column));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, second + column));
    _mm512_storeu_si512(panel + column, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
}

const Bf16Ops table = {multiply_tile, round_values, interleave};

}  // namespace

const Bf16Ops *bf16_ops_avx512() { return &table; }

}  // namespace duo
#else
namespace duo {
const Bf16Ops *bf16_ops_avx512() { return nullptr; }
}  // namespace duo
#endif
