// The micro-kernel and the loops around it. See gemm.h for the layout.
#include "gemm.h"

#include <algorithm>
#include <cstring>

namespace pretrain {
namespace {

typedef float v16 __attribute__((vector_size(64), aligned(4)));

constexpr int64_t kRows = 12;    // with two columns of registers: 24 accumulators of the 32 AVX-512 has
constexpr int64_t kDepth = 256;  // a panel of 256 × 32 floats is 32 KiB and stays in the first-level cache

/* One tile of R rows and kPanel columns; rows are reached from four bases so that the addresses fit in registers. */
template <int R>
void multiply_tile(int64_t depth, View a, const float *b, float *c, int64_t stride, int64_t columns, bool accumulate) {
  v16 sum[R][2] = {};
  const float *base[(R + 2) / 3];
  for (int i = 0; i < (R + 2) / 3; i++) base[i] = a.data + 3 * i * a.row;
  for (int64_t k = 0; k < depth; k++) {
    const v16 b0 = *reinterpret_cast<const v16 *>(b);
    const v16 b1 = *reinterpret_cast<const v16 *>(b + 16);
#pragma GCC unroll 12
    for (int i = 0; i < R; i++) {
      const float value = base[i / 3][(i % 3) * a.row];
      sum[i][0] += value * b0;
      sum[i][1] += value * b1;
    }
    b += kPanel;
#pragma GCC unroll 4
    for (int i = 0; i < (R + 2) / 3; i++) base[i] += a.column;
  }
#pragma GCC unroll 12
  for (int i = 0; i < R; i++) {
    float *out = c + i * stride;
    if (columns == kPanel) {
      v16 *left = reinterpret_cast<v16 *>(out);
      v16 *right = reinterpret_cast<v16 *>(out + 16);
      *left = accumulate ? *left + sum[i][0] : sum[i][0];
      *right = accumulate ? *right + sum[i][1] : sum[i][1];
    } else {
      float values[kPanel];
      std::memcpy(values, sum[i], sizeof(values));
      for (int64_t j = 0; j < columns; j++) out[j] = accumulate ? out[j] + values[j] : values[j];
    }
  }
}

using Tile = void (*)(int64_t, View, const float *, float *, int64_t, int64_t, bool);
constexpr Tile kTiles[kRows] = {multiply_tile<1>, multiply_tile<2>,  multiply_tile<3>,  multiply_tile<4>,
                                multiply_tile<5>, multiply_tile<6>,  multiply_tile<7>,  multiply_tile<8>,
                                multiply_tile<9>, multiply_tile<10>, multiply_tile<11>, multiply_tile<12>};

}  // namespace

void Packed::pack(View b, int64_t new_depth, int64_t new_columns) {
  depth = new_depth;
  columns = new_columns;
  const int64_t panels = (columns + kPanel - 1) / kPanel;
  data.resize(static_cast<size_t>(panels * depth * kPanel));
  for (int64_t panel = 0; panel < panels; panel++) {
    const int64_t first = panel * kPanel;
    const int64_t width = std::min(kPanel, columns - first);
    float *out = data.data() + panel * depth * kPanel;
    if (width < kPanel) std::fill(out, out + depth * kPanel, 0.0f);
    if (b.column == 1) {
      for (int64_t k = 0; k < depth; k++)
        std::memcpy(out + k * kPanel, b.data + k * b.row + first, sizeof(float) * width);
    } else {
      for (int64_t j = 0; j < width; j++) {
        const float *from = b.data + (first + j) * b.column;
        for (int64_t k = 0; k < depth; k++) out[k * kPanel + j] = from[k * b.row];
      }
    }
  }
}

void multiply(int64_t rows, int64_t columns, int64_t depth, View a, const Packed &b, float *c, int64_t stride,
              bool accumulate) {
  for (int64_t k = 0; k < depth; k += kDepth) {
    const int64_t size = std::min(kDepth, depth - k);
    for (int64_t j = 0; j < columns; j += kPanel) {
      const float *panel = b.data.data() + (j / kPanel * b.depth + k) * kPanel;
      const int64_t width = std::min(kPanel, columns - j);
      for (int64_t i = 0; i < rows; i += kRows) {
        const int64_t height = std::min(kRows, rows - i);
        const View block{a.data + i * a.row + k * a.column, a.row, a.column};
        kTiles[height - 1](size, block, panel, c + i * stride + j, stride, width, accumulate || k > 0);
      }
    }
  }
}

}  // namespace pretrain
