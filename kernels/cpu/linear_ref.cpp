// Plain linear layers: what tests hold the packed products to. fp32 sums in index order.
#include "cpu/linear.h"

namespace duo {
namespace {

float weight_value(const Tensor &weight, int64_t row, int64_t column) {
  float value;
  dequantize_range(weight.dtype, weight.data + row * weight.row_bytes(), column, 1, &value);
  return value;
}

}  // namespace

void multiply_linear_ref(const Linear &linear, const float *x, int64_t x_stride, int64_t rows, float *y,
                         int64_t y_stride, bool accumulate) {
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t column = 0; column < linear.out(); column++) {
      float sum = 0;
      for (int64_t k = 0; k < linear.in(); k++) sum += x[row * x_stride + k] * weight_value(linear.weight, column, k);
      if (!linear.bias.empty()) sum += linear.bias[static_cast<size_t>(column)];
      y[row * y_stride + column] = accumulate ? y[row * y_stride + column] + sum : sum;
    }
  }
}

void multiply_linear_transposed_ref(const Linear &linear, const float *dy, int64_t dy_stride, int64_t rows, float *dx,
                                    int64_t dx_stride, bool accumulate) {
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t column = 0; column < linear.in(); column++) {
      float sum = 0;
      for (int64_t k = 0; k < linear.out(); k++)
        sum += dy[row * dy_stride + k] * weight_value(linear.weight, k, column);
      dx[row * dx_stride + column] = accumulate ? dx[row * dx_stride + column] + sum : sum;
    }
  }
}

}  // namespace duo
