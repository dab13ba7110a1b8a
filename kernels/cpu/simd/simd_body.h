// The inner loops of SimdOps over the Vector of one instruction set. Included once by each isa_*.cpp, which names the
// set, its vector width and the register tile of the matrix product (DUO_TILE_ROWS by DUO_TILE_VECTORS vectors).
#pragma once
#include "cpu/simd/cache_body.h"
#include "cpu/simd/gram_body.h"
#include "cpu/simd/simd_ops.h"
#include "cpu/simd/vector.h"

namespace duo {
namespace {

constexpr int64_t TILE_ROWS = DUO_TILE_ROWS, TILE_VECTORS = DUO_TILE_VECTORS, TILE_COLUMNS = TILE_VECTORS * WIDTH;
// Steps of depth by which a panel of rows is fetched ahead: some hundreds of cycles. Past the panel's end it does no
// harm.
constexpr int64_t PREFETCH_STEPS = 64;

void multiply_tile(int64_t depth, const float *a_panel, const float *b_panel, float *c, int64_t c_stride, int64_t rows,
                   int64_t columns, bool accumulate) {
  Vector sum[TILE_ROWS][TILE_VECTORS] = {};
  // The result lies rows apart and comes from beyond the second-level cache: asked for now, it is there when the sums
  // are.
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t v = 0; v < TILE_VECTORS; v++) __builtin_prefetch(c + r * c_stride + v * WIDTH, 1);
  }
  for (int64_t k = 0; k < depth; k++) {
    Vector b[TILE_VECTORS];
    __builtin_prefetch(a_panel + (k + PREFETCH_STEPS) * TILE_ROWS);
#pragma GCC unroll 4
    for (int64_t v = 0; v < TILE_VECTORS; v++) b[v] = load(b_panel + k * TILE_COLUMNS + v * WIDTH);
#pragma GCC unroll 16
    for (int64_t r = 0; r < TILE_ROWS; r++) {
      const Vector a = broadcast(a_panel[k * TILE_ROWS + r]);
#pragma GCC unroll 4
      for (int64_t v = 0; v < TILE_VECTORS; v++) sum[r][v] += a * b[v];
    }
  }
  if (rows == TILE_ROWS && columns == TILE_COLUMNS) {
#pragma GCC unroll 16
    for (int64_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < TILE_VECTORS; v++) {
        float *to = c + r * c_stride + v * WIDTH;
        store(to, accumulate ? load(to) + sum[r][v] : sum[r][v]);
      }
    }
    return;
  }
  float spill[TILE_ROWS][TILE_COLUMNS];
#pragma GCC unroll 16
  for (int64_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 4
    for (int64_t v = 0; v < TILE_VECTORS; v++) store(&spill[r][v * WIDTH], sum[r][v]);
  }
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t column = 0; column < columns; column++) {
      float *to = c + r * c_stride + column;
      *to = accumulate ? *to + spill[r][column] : spill[r][column];
    }
  }
}

template <int32_t DTYPE, int64_t TILE>
void pack_transposed_as(const void *from, int64_t row_stride, int64_t rows, int64_t depth, float *panel) {
  constexpr int64_t BYTES = DTYPE == DUO_DTYPE_F32 ? 4 : 2;
  const char *base = static_cast<const char *>(from);
  for (int64_t first = 0; first < TILE; first += WIDTH) {
    constexpr int64_t LAST = TILE % WIDTH == 0 ? WIDTH : TILE % WIDTH;
    const bool is_last = first + WIDTH >= TILE;
    int64_t k = 0;
    for (; k + WIDTH <= depth; k += WIDTH) {
      Vector block[WIDTH];
#pragma GCC unroll 16
      for (int64_t i = 0; i < WIDTH; i++) {
        block[i] = first + i < rows ? load_as<DTYPE>(base + (first + i) * row_stride * BYTES, k) : Vector{};
      }
      transpose(block);
#pragma GCC unroll 16
      for (int64_t i = 0; i < WIDTH; i++) {
        float *to = panel + (k + i) * TILE + first;
        if (is_last) {
          __builtin_memcpy(to, &block[i], LAST * 4);
        } else {
          store(to, block[i]);
        }
      }
    }
    for (; k < depth; k++) {
      for (int64_t i = first; i < TILE && i < first + WIDTH; i++) {
        panel[k * TILE + i] = i < rows ? scalar_as<DTYPE>(base + i * row_stride * BYTES, k) : 0.0f;
      }
    }
  }
}

template <int32_t DTYPE, int64_t TILE>
void pack_straight_as(const void *from, int64_t row_stride, int64_t columns, int64_t depth, float *panel) {
  constexpr int64_t BYTES = DTYPE == DUO_DTYPE_F32 ? 4 : 2;
  const char *base = static_cast<const char *>(from);
  for (int64_t k = 0; k < depth; k++) {
    const char *row = base + k * row_stride * BYTES;
    float *to = panel + k * TILE;
    int64_t column = 0;
    for (; column + WIDTH <= columns; column += WIDTH) store(to + column, load_as<DTYPE>(row, column));
    for (; column < columns; column++) to[column] = scalar_as<DTYPE>(row, column);
    for (; column < TILE; column++) to[column] = 0.0f;
  }
}

template <int32_t DTYPE>
void pack_as(bool transposed, const void *from, int64_t row_stride, int64_t count, int64_t depth, int64_t tile,
             float *panel) {
  if (transposed && tile == TILE_ROWS)
    return pack_transposed_as<DTYPE, TILE_ROWS>(from, row_stride, count, depth, panel);
  if (transposed) return pack_transposed_as<DTYPE, TILE_COLUMNS>(from, row_stride, count, depth, panel);
  if (tile == TILE_ROWS) return pack_straight_as<DTYPE, TILE_ROWS>(from, row_stride, count, depth, panel);
  return pack_straight_as<DTYPE, TILE_COLUMNS>(from, row_stride, count, depth, panel);
}

void pack(bool transposed, int32_t dtype, const void *from, int64_t row_stride, int64_t count, int64_t depth,
          int64_t tile, float *panel) {
  if (dtype == DUO_DTYPE_F32) pack_as<DUO_DTYPE_F32>(transposed, from, row_stride, count, depth, tile, panel);
  if (dtype == DUO_DTYPE_BF16) pack_as<DUO_DTYPE_BF16>(transposed, from, row_stride, count, depth, tile, panel);
  if (dtype == DUO_DTYPE_F16) pack_as<DUO_DTYPE_F16>(transposed, from, row_stride, count, depth, tile, panel);
}

void pack_transposed(int32_t dtype, const void *from, int64_t row_stride, int64_t rows, int64_t depth, int64_t tile,
                     float *panel) {
  pack(true, dtype, from, row_stride, rows, depth, tile, panel);
}

void pack_straight(int32_t dtype, const void *from, int64_t row_stride, int64_t columns, int64_t depth, int64_t tile,
                   float *panel) {
  pack(false, dtype, from, row_stride, columns, depth, tile, panel);
}

// ROWS x vectors against COLUMNS weight rows at once; every sum runs over depth in the same order whatever ROWS and
// COLUMNS are.
template <int32_t DTYPE, int64_t ROWS, int64_t COLUMNS>
DUO_INLINE void multiply_vector_block(const float *x, int64_t x_stride, const char *weight, int64_t weight_stride,
                                      int64_t depth, float *y, int64_t y_stride, bool accumulate) {
  Vector sum[ROWS][COLUMNS] = {};
  int64_t k = 0;
  for (; k + WIDTH <= depth; k += WIDTH) {
    Vector w[COLUMNS];
#pragma GCC unroll 8
    for (int64_t column = 0; column < COLUMNS; column++) w[column] = load_as<DTYPE>(weight + column * weight_stride, k);
#pragma GCC unroll 8
    for (int64_t row = 0; row < ROWS; row++) {
      const Vector value = load(x + row * x_stride + k);
#pragma GCC unroll 8
      for (int64_t column = 0; column < COLUMNS; column++) sum[row][column] += value * w[column];
    }
  }
  for (int64_t row = 0; row < ROWS; row++) {
    for (int64_t column = 0; column < COLUMNS; column++) {
      float total = sum_lanes(sum[row][column]);
      for (int64_t tail = k; tail < depth; tail++)
        total += x[row * x_stride + tail] * scalar_as<DTYPE>(weight + column * weight_stride, tail);
      float *to = y + row * y_stride + column;
      *to = accumulate ? *to + total : total;
    }
  }
}

template <int32_t DTYPE, int64_t ROWS>
void multiply_vector_rows(const float *x, int64_t x_stride, const void *weight, int64_t columns, int64_t depth,
                          float *y, int64_t y_stride, bool accumulate) {
  constexpr int64_t BLOCK = ROWS <= 2 ? 4 : 2;
  const int64_t stride = depth * (DTYPE == DUO_DTYPE_F32 ? 4 : 2);
  const char *at = static_cast<const char *>(weight);
  int64_t column = 0;
  for (; column + BLOCK <= columns; column += BLOCK) {
    multiply_vector_block<DTYPE, ROWS, BLOCK>(x, x_stride, at + column * stride, stride, depth, y + column, y_stride,
                                              accumulate);
  }
  for (; column < columns; column++) {
    multiply_vector_block<DTYPE, ROWS, 1>(x, x_stride, at + column * stride, stride, depth, y + column, y_stride,
                                          accumulate);
  }
}

template <int32_t DTYPE>
void multiply_vectors_as(const float *x, int64_t x_stride, int64_t rows, const void *weight, int64_t columns,
                         int64_t depth, float *y, int64_t y_stride, bool accumulate) {
  while (rows > 0) {
    const int64_t step = rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
    if (step == 4) multiply_vector_rows<DTYPE, 4>(x, x_stride, weight, columns, depth, y, y_stride, accumulate);
    if (step == 2) multiply_vector_rows<DTYPE, 2>(x, x_stride, weight, columns, depth, y, y_stride, accumulate);
    if (step == 1) multiply_vector_rows<DTYPE, 1>(x, x_stride, weight, columns, depth, y, y_stride, accumulate);
    x += step * x_stride;
    y += step * y_stride;
    rows -= step;
  }
}

void multiply_vectors(int32_t dtype, const float *x, int64_t x_stride, int64_t rows, const void *weight,
                      int64_t columns, int64_t depth, float *y, int64_t y_stride, bool accumulate) {
  if (dtype == DUO_DTYPE_F32)
    multiply_vectors_as<DUO_DTYPE_F32>(x, x_stride, rows, weight, columns, depth, y, y_stride, accumulate);
  if (dtype == DUO_DTYPE_BF16)
    multiply_vectors_as<DUO_DTYPE_BF16>(x, x_stride, rows, weight, columns, depth, y, y_stride, accumulate);
  if (dtype == DUO_DTYPE_F16)
    multiply_vectors_as<DUO_DTYPE_F16>(x, x_stride, rows, weight, columns, depth, y, y_stride, accumulate);
}

template <int32_t DTYPE>
void widen_as(const void *from, int64_t count, float *out) {
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) store(out + i, load_as<DTYPE>(from, i));
  for (; i < count; i++) out[i] = scalar_as<DTYPE>(from, i);
}

void widen(int32_t dtype, const void *from, int64_t count, float *out) {
  if (dtype == DUO_DTYPE_F32) widen_as<DUO_DTYPE_F32>(from, count, out);
  if (dtype == DUO_DTYPE_BF16) widen_as<DUO_DTYPE_BF16>(from, count, out);
  if (dtype == DUO_DTYPE_F16) widen_as<DUO_DTYPE_F16>(from, count, out);
}

float dot(const float *a, const float *b, int64_t count) {
  Vector sum[4] = {};
  int64_t i = 0;
  for (; i + 4 * WIDTH <= count; i += 4 * WIDTH) {
#pragma GCC unroll 4
    for (int64_t v = 0; v < 4; v++) sum[v] += load(a + i + v * WIDTH) * load(b + i + v * WIDTH);
  }
  for (; i + WIDTH <= count; i += WIDTH) sum[0] += load(a + i) * load(b + i);
  float total = sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
  for (; i < count; i++) total += a[i] * b[i];
  return total;
}

void add_scaled(float scale, const float *x, int64_t count, float *y) {
  const Vector factor = broadcast(scale);
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) store(y + i, load(y + i) + factor * load(x + i));
  for (; i < count; i++) y[i] += scale * x[i];
}

// The last, partial vector is padded, so that an element's result does not depend on where it stands.
float exp_sum(float *x, int64_t count, float shift) {
  Vector sum = {};
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) {
    const Vector value = exponential(load(x + i) - shift);
    store(x + i, value);
    sum += value;
  }
  if (i < count) {
    float padded[WIDTH];
    for (int64_t lane = 0; lane < WIDTH; lane++) padded[lane] = i + lane < count ? x[i + lane] : -1e30f;
    const Vector value = exponential(load(padded) - shift);
    sum += value;
    store(padded, value);
    for (int64_t lane = 0; i + lane < count; lane++) x[i + lane] = padded[lane];
  }
  return sum_lanes(sum);
}

float max_value(const float *x, int64_t count) {
  Vector best = broadcast(x[0]);
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) best = maximum(load(x + i), best);
  float result = best[0];
  for (int64_t lane = 1; lane < WIDTH; lane++) result = best[lane] > result ? best[lane] : result;
  for (; i < count; i++) result = x[i] > result ? x[i] : result;
  return result;
}

// 1/(1 + e^−x); e^−x is held below overflow, where the sigmoid is 0 in fp32 terms anyway.
DUO_INLINE Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-maximum(x, broadcast(-87.0f)))); }

// Runs body on whole vectors and once on a padded copy of the tail.
template <typename Body>
DUO_INLINE void for_vectors(float *a, float *b, const float *c, int64_t count, Body body) {
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) body(a + i, b + i, c + i);
  if (i == count) return;
  float pad_a[WIDTH] = {}, pad_b[WIDTH] = {}, pad_c[WIDTH] = {};
  for (int64_t lane = 0; i + lane < count; lane++) {
    pad_a[lane] = a[i + lane];
    pad_b[lane] = b[i + lane];
    pad_c[lane] = c[i + lane];
  }
  body(pad_a, pad_b, pad_c);
  for (int64_t lane = 0; i + lane < count; lane++) {
    a[i + lane] = pad_a[lane];
    b[i + lane] = pad_b[lane];
  }
}

void silu_multiply(float *gate, const float *up, int64_t count) {
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) {
    const Vector g = load(gate + i);
    store(gate + i, g * sigmoid(g) * load(up + i));
  }
  if (i == count) return;
  float pad_gate[WIDTH] = {}, pad_up[WIDTH] = {};
  for (int64_t lane = 0; i + lane < count; lane++) {
    pad_gate[lane] = gate[i + lane];
    pad_up[lane] = up[i + lane];
  }
  const Vector g = load(pad_gate);
  store(pad_gate, g * sigmoid(g) * load(pad_up));
  for (int64_t lane = 0; i + lane < count; lane++) gate[i + lane] = pad_gate[lane];
}

void silu_multiply_backward(float *gate, float *up, const float *d, int64_t count) {
  for_vectors(
      gate, up, d, count, [](float *gate_at, float *up_at, const float *d_at) __attribute__((always_inline)) {
        const Vector g = load(gate_at), u = load(up_at), gradient = load(d_at), s = sigmoid(g), silu = g * s;
        store(up_at, gradient * silu);
        store(gate_at, gradient * u * (s + silu * (1.0f - s)));
      });
}

}  // namespace
}  // namespace duo

#include "cpu/simd/attention_body.h"

namespace duo {
namespace {

const SimdOps table = {DUO_ISA_NAME,
                       TILE_ROWS,
                       TILE_COLUMNS,
                       multiply_tile,
                       pack_transposed,
                       pack_straight,
                       multiply_vectors,
                       widen,
                       dot,
                       add_scaled,
                       exp_sum,
                       max_value,
                       silu_multiply,
                       silu_multiply_backward,
                       add_products,
                       attend_tile,
                       attend_tile_backward,
                       &cache_loops::cache_table};

}  // namespace
}  // namespace duo
