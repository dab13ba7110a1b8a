// Row-wise operations, cut into blocks of rows for the pool. Transcendentals go through the instruction set's exp; sums
// run in fp64.
#include "cpu/layer_ops.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace duo {
namespace {

// Elements an item should touch: some tens of microseconds of work.
constexpr int64_t ITEM_ELEMENTS = 1 << 14;

template <typename Body>
void run_rows(const CpuContext &context, int64_t rows, int64_t width, const Body &body) {
  const int64_t block = std::max<int64_t>(1, ITEM_ELEMENTS / std::max<int64_t>(1, width));
  context.run((rows + block - 1) / block, [&](int64_t item, int64_t) {
    for (int64_t row = item * block; row < std::min(rows, (item + 1) * block); row++) body(row);
  });
}

// 1/sqrt(mean(x²) + eps); eight interleaved sums so that the loop vectorises in a fixed order.
double inverse_rms(const float *x, int64_t width, float eps) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= width; i += 8) {
    for (int64_t lane = 0; lane < 8; lane++)
      sums[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(x[i + lane]);
  }
  double sum = 0;
  for (; i < width; i++) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (const double lane : sums) sum += lane;
  return 1.0 / std::sqrt(sum / static_cast<double>(width) + static_cast<double>(eps));
}

}  // namespace

void rms_norm(const CpuContext &context, const float *x, const float *weight, int64_t rows, int64_t width, float eps,
              float *out) {
  run_rows(context, rows, width, [&](int64_t row) {
    const float *from = x + row * width;
    float *to = out + row * width;
    const float scale = static_cast<float>(inverse_rms(from, width, eps));
    for (int64_t i = 0; i < width; i++) to[i] = from[i] * scale * weight[i];
  });
}

void rms_norm_backward(const CpuContext &context, const float *x, const float *weight, const float *dy, int64_t rows,
                       int64_t width, float eps, float *dx, bool accumulate) {
  run_rows(context, rows, width, [&](int64_t row) {
    const float *from = x + row * width, *gradient = dy + row * width;
    float *to = dx + row * width;
    const double scale = inverse_rms(from, width, eps);
    double projection = 0;  // ⟨dy∘weight, x⟩
    for (int64_t i = 0; i < width; i++)
      projection += static_cast<double>(gradient[i]) * static_cast<double>(weight[i]) * static_cast<double>(from[i]);
    const float factor = static_cast<float>(scale),
                back = static_cast<float>(projection * scale * scale * scale / static_cast<double>(width));
    for (int64_t i = 0; i < width; i++) {
      const float value = gradient[i] * weight[i] * factor - from[i] * back;
      to[i] = accumulate ? to[i] + value : value;
    }
  });
}

void apply_rope(const CpuContext &context, float *x, int64_t rows, int64_t heads, int64_t head_dim, const float *cos,
                const float *sin, bool inverse) {
  const int64_t half = head_dim / 2;
  run_rows(context, rows, heads * head_dim, [&](int64_t row) {
    const float *c = cos + row * half, *s = sin + row * half;
    const float sign = inverse ? -1.0f : 1.0f;
    for (int64_t head = 0; head < heads; head++) {
      float *first = x + (row * heads + head) * head_dim, *second = first + half;
      for (int64_t i = 0; i < half; i++) {
        const float a = first[i], b = second[i], turn = sign * s[i];
        first[i] = a * c[i] - b * turn;
        second[i] = b * c[i] + a * turn;
      }
    }
  });
}

void apply_hadamard(const CpuContext &context, float *x, int64_t rows, int64_t heads, int64_t head_dim) {
  run_rows(context, rows, heads * head_dim,
           [&](int64_t row) { context.ops.cache->hadamard(x + row * heads * head_dim, heads, head_dim); });
}

void swiglu(const CpuContext &context, float *gate, const float *up, int64_t rows, int64_t width) {
  const int64_t total = rows * width, num_items = (total + ITEM_ELEMENTS - 1) / ITEM_ELEMENTS;
  context.run(num_items, [&](int64_t item, int64_t) {
    const int64_t begin = item * ITEM_ELEMENTS, count = std::min(ITEM_ELEMENTS, total - begin);
    context.ops.silu_multiply(gate + begin, up + begin, count);
  });
}

void swiglu_backward(const CpuContext &context, float *gate, float *up, const float *d, int64_t rows, int64_t width) {
  const int64_t total = rows * width, num_items = (total + ITEM_ELEMENTS - 1) / ITEM_ELEMENTS;
  context.run(num_items, [&](int64_t item, int64_t) {
    const int64_t begin = item * ITEM_ELEMENTS, count = std::min(ITEM_ELEMENTS, total - begin);
    context.ops.silu_multiply_backward(gate + begin, up + begin, d + begin, count);
  });
}

void embed_tokens(const CpuContext &context, const Tensor &embedding, const int32_t *tokens, int64_t count,
                  float *out) {
  const int64_t width = embedding.columns;
  run_rows(context, count, width, [&](int64_t row) {
    const uint8_t *from = embedding.data + int64_t{tokens[row]} * embedding.row_bytes();
    if (is_quantized(embedding.dtype)) {
      dequantize(embedding.dtype, from, width, out + row * width);
    } else {
      context.ops.widen(static_cast<int32_t>(embedding.dtype), from, width, out + row * width);
    }
  });
}

}  // namespace duo
