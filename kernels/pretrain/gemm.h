// Single-precision matrix products for the pretrainer: one micro-kernel of 12 rows by 32 columns over a packed
// right-hand side. Written with GCC vector extensions, so it compiles for any instruction set; with AVX-512 the 24
// accumulators stay in registers. Results do not depend on the number of threads: each product runs on one thread, in
// one order.
#pragma once
#include <cstdint>
#include <vector>

namespace pretrain {

constexpr int64_t kPanel = 32;  // columns of one packed panel: two 512-bit registers of floats

/* A matrix seen through strides: element (i, j) lies at data[i * row + j * column]. */
struct View {
  const float *data;
  int64_t row;
  int64_t column;
};

/* Right-hand side [depth, columns] copied into panels of kPanel columns, each [depth, kPanel], zero-padded. */
struct Packed {
  std::vector<float> data;
  int64_t depth = 0;
  int64_t columns = 0;
  void pack(View b, int64_t depth, int64_t columns);
};

/* c [rows, columns] (row stride `stride`) = a [rows, depth] · b, or += where `accumulate`.
 * `depth` ≤ b.depth and `columns` ≤ b.columns: a causal block may use only the first keys of a packed matrix. */
void multiply(int64_t rows, int64_t columns, int64_t depth, View a, const Packed &b, float *c, int64_t stride,
              bool accumulate);

}  // namespace pretrain
