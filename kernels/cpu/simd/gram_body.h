// Inner products of one instruction set in fp64; see SimdOps::add_products. Included by simd_body.h.
#pragma once
#include "cpu/simd/simd_ops.h"
#include "cpu/simd/vector.h"

namespace duo {
namespace {

// Eight lanes at a time, which the compiler splits where its vectors are shorter.
constexpr int64_t HALF_LANES = 8;
static_assert(GRAM_LANES == 2 * HALF_LANES);
typedef float GramFloats __attribute__((vector_size(HALF_LANES * 4)));
typedef double GramDoubles __attribute__((vector_size(HALF_LANES * 8)));

// By reference: returned, a vector wider than the set's own would be passed in another way by each file.
DUO_INLINE void load_doubles(const float *from, GramDoubles &to) {
  GramFloats value;
  __builtin_memcpy(&value, from, sizeof value);
  to = __builtin_convertvector(value, GramDoubles);
}

template <int64_t COLUMNS>
DUO_INLINE void add_products_of(const float *a, const float *b, int64_t b_stride, int64_t count, double *lanes) {
  GramDoubles sums[COLUMNS][2], low, high, right_low, right_high;
  __builtin_memcpy(sums, lanes, sizeof sums);
  for (int64_t i = 0; i < count; i += GRAM_LANES) {
    load_doubles(a + i, low);
    load_doubles(a + i + HALF_LANES, high);
#pragma GCC unroll 4
    for (int64_t column = 0; column < COLUMNS; column++) {
      load_doubles(b + column * b_stride + i, right_low);
      load_doubles(b + column * b_stride + i + HALF_LANES, right_high);
      sums[column][0] += low * right_low;
      sums[column][1] += high * right_high;
    }
  }
  __builtin_memcpy(lanes, sums, sizeof sums);
}

void add_products(const float *a, const float *b, int64_t b_stride, int64_t columns, int64_t count, double *lanes) {
  int64_t column = 0;
  for (; column + 4 <= columns; column += 4)
    add_products_of<4>(a, b + column * b_stride, b_stride, count, lanes + column * GRAM_LANES);
  for (; column < columns; column++)
    add_products_of<1>(a, b + column * b_stride, b_stride, count, lanes + column * GRAM_LANES);
}

}  // namespace
}  // namespace duo
