// The instruction-set dependent inner loops, as a table of functions. Each isa_*.cpp compiles the same bodies
// (*_body.h) with its own compiler flags; cpu_features.h picks a table at run time. Nothing outside isa_*.cpp may
// include a body: its inline code would leak instructions that the machine may not have.
#pragma once
#include <cstdint>

#include "cpu/simd/attention_ops.h"

#include "cpu/simd/cache_ops.h"

namespace duo {

constexpr int64_t GRAM_LANES = 16;  // sums that one inner product is split into

struct SimdOps {
  const char *name;  // "plain", "avx2", "avx512", "neon"

  // Register tile of the matrix product: rows of x by columns of y.
  int64_t tile_rows, tile_columns;

  // c[rows, columns] (row stride c_stride) = or += Σ_k a[k][tile_rows]·b[k][tile_columns], over packed panels padded
  // with zeros to the tile.
  void (*multiply_tile)(int64_t depth, const float *a_panel, const float *b_panel, float *c, int64_t c_stride,
                        int64_t rows, int64_t columns, bool accumulate);

  // panel[k][tile] = from[row][k] for row < rows <= tile, 0 for the rest: rows lie row_stride elements of `dtype`
  // apart. tile is tile_rows or tile_columns.
  void (*pack_transposed)(int32_t dtype, const void *from, int64_t row_stride, int64_t rows, int64_t depth,
                          int64_t tile, float *panel);
  // panel[k][tile] = from[k][column] for column < columns <= tile, 0 for the rest.
  void (*pack_straight)(int32_t dtype, const void *from, int64_t row_stride, int64_t columns, int64_t depth,
                        int64_t tile, float *panel);

  // y[columns] for each of rows (1 … 8) x vectors: y[r·y_stride + c] = ⟨x_r, w_c⟩ (+ y if accumulate); w [columns,
  // depth] of `dtype` f32, bf16 or f16, any alignment.
  void (*multiply_vectors)(int32_t dtype, const float *x, int64_t x_stride, int64_t rows, const void *weight,
                           int64_t columns, int64_t depth, float *y, int64_t y_stride, bool accumulate);

  // out[i] = fp32 of count elements of `dtype` (f32, bf16, f16), any alignment.
  void (*widen)(int32_t dtype, const void *from, int64_t count, float *out);

  float (*dot)(const float *a, const float *b, int64_t count);
  // y += scale·x
  void (*add_scaled)(float scale, const float *x, int64_t count, float *y);
  // x[i] = exp(x[i] − shift), relative error below 3e-7 (0 below −87 of the argument); returns the sum in a fixed
  // order.
  float (*exp_sum)(float *x, int64_t count, float shift);
  float (*max_value)(const float *x, int64_t count);
  // gate[i] = silu(gate[i])·up[i]
  void (*silu_multiply)(float *gate, const float *up, int64_t count);
  // d = gradient of silu(gate)·up: gate[i] and up[i] become their own gradients.
  void (*silu_multiply_backward)(float *gate, float *up, const float *d, int64_t count);

  // lanes[column][i mod 16] += a[i]·b[column·b_stride + i] in fp64, in index order; count is a multiple of GRAM_LANES.
  void (*add_products)(const float *a, const float *b, int64_t b_stride, int64_t columns, int64_t count, double *lanes);

  void (*attend_tile)(const AttentionForwardTile &tile);
  void (*attend_tile_backward)(const AttentionBackwardTile &tile);

  const CacheOps *cache;  // sessions: cache_ops.h
};

// Null where the compiler or architecture cannot build it.
const SimdOps *simd_ops_plain();
const SimdOps *simd_ops_avx2();
const SimdOps *simd_ops_avx512();
const SimdOps *simd_ops_neon();

}  // namespace duo
