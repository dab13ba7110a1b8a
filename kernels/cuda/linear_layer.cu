#include "cuda/linear_layer.h"

#include "cuda/layer_ops.h"

namespace duo::cuda {
namespace {

void add_bias(const DeviceMatrix &matrix, int64_t first, int64_t count, int64_t m, void *out, int64_t out_stride, Store store, Half half, const Stream &stream) {
  if (matrix.bias.count() == 0) return;
  if (out_stride != count) fail(DUO_STATUS_INTERNAL, "Expected a bias to be added to whole rows");
  check(store == Store::half ? launch_add_bias(static_cast<uint16_t *>(out), matrix.bias.data() + first, m, count, stream.get(), half)
                             : launch_add_bias_f32(static_cast<float *>(out), matrix.bias.data() + first, m, count, stream.get()),
        "adding a bias");
}

// Weights as bf16, or null where they are int8.
const bf16 *values_of(const CudaModel &model, const DeviceMatrix &matrix) {
  return &matrix == &model.lm_head() && matrix.quantized.count() == 0 ? model.lm_head_values() : matrix.values.data();
}

}  // namespace

const bf16 *matrix_rows(const DeviceMatrix &matrix, const bf16 *values, int64_t first, int64_t count, LinearScratch &scratch, const Stream &stream) {
  if (values != nullptr) return values + first * matrix.columns;
  scratch.widened.reserve(count * matrix.columns);
  check(launch_dequantize_rows(matrix.quantized.data() + first * matrix.columns, matrix.row_scale.data() + first, count, matrix.columns,
                               scratch.widened.data(), stream.get()),
        "widening weights");
  return scratch.widened.data();
}

void multiply_linear(const CudaModel &model, const DeviceMatrix &matrix, int64_t first, int64_t count, const bf16 *x, int64_t m, void *out,
                     int64_t out_stride, Store store, LinearScratch &scratch, const Stream &stream, Half half, float factor) {
  if (half == Half::f16) {
    const F16Matrix &f16 = model.f16_of(matrix);
    model.algebra().multiply({x, f16.values.data() + first * matrix.columns, out, m, count, matrix.columns, matrix.columns, matrix.columns, out_stride, false, store,
                              half, factor * f16.unit},
                             stream);
    return add_bias(matrix, first, count, m, out, out_stride, store, half, stream);
  }
  const bf16 *rows = matrix_rows(matrix, values_of(model, matrix), first, count, scratch, stream);
  model.algebra().multiply({x, rows, out, m, count, matrix.columns, matrix.columns, matrix.columns, out_stride, false, store, half, factor}, stream);
  add_bias(matrix, first, count, m, out, out_stride, store, half, stream);
}

void multiply_linear_transposed(const CudaModel &model, const DeviceMatrix &matrix, int64_t first, int64_t count, const bf16 *dy,
                                int64_t dy_stride, int64_t m, void *dx, Store store, LinearScratch &scratch, const Stream &stream) {
  const bf16 *rows = matrix_rows(matrix, values_of(model, matrix), first, count, scratch, stream);
  model.algebra().multiply({dy, rows, dx, m, matrix.columns, count, dy_stride, matrix.columns, matrix.columns, true, store}, stream);
}

}  // namespace duo::cuda
