// Products of bf16 pairs with fp32 sums (vdpbf16ps), for DUO_COMPUTE_BF16. Panels are those of SimdOps with one 32-bit
// element for two neighbours of the depth, so that packing is the same work; null where the compiler cannot build it.
#pragma once
#include <cstdint>

namespace duo {

struct Bf16Ops {
  // As SimdOps::multiply_tile with the tile of the avx512 table; `pairs` is half the depth.
  void (*multiply_tile)(int64_t pairs, const float *a_panel, const float *b_panel, float *c, int64_t c_stride,
                        int64_t rows, int64_t columns, bool accumulate);
  // out[i] = bf16 of x[i], to nearest even.
  void (*round)(const float *x, int64_t count, uint16_t *out);
  // panel[column] = (even[column], odd[column]) for column < columns <= tile, 0 for the rest.
  void (*interleave)(const void *even, const void *odd, int64_t columns, int64_t tile, float *panel);
};

const Bf16Ops *bf16_ops_avx512();

}  // namespace duo
