#include "cuda/linear_layer.h"

#include <algorithm>

#include "cuda/layer_ops.h"

namespace duo::cuda {
namespace {

constexpr int64_t SLICE_ELEMENTS =
    int64_t{64} << 20;  // of a matrix widened at a time, 128 MB: a vocabulary's whole matrix would be gigabytes

void add_bias(const DeviceMatrix &matrix, int64_t first, int64_t count, int64_t m, void *out, int64_t out_stride,
              Store store, Half half, const Stream &stream) {
  if (matrix.bias.count() == 0) return;
  if (out_stride != count) fail(DUO_STATUS_INTERNAL, "Expected a bias to be added to whole rows");
  check(store == Store::half
            ? launch_add_bias(static_cast<uint16_t *>(out), matrix.bias.data() + first, m, count, stream.get(), half)
            : launch_add_bias_f32(static_cast<float *>(out), matrix.bias.data() + first, m, count, stream.get()),
        "adding a bias");
}

VectorStore vector_store_of(Store store) {
  return store == Store::half ? VectorStore::bf16 : store == Store::f32 ? VectorStore::f32 : VectorStore::add_f32;
}

}  // namespace

const bf16 *matrix_rows(const DeviceMatrix &matrix, int64_t first, int64_t count, LinearScratch &scratch,
                        const Stream &stream) {
  if (matrix.format == WeightFormat::bf16) return matrix.values.data() + first * matrix.columns;
  scratch.widened.reserve(count * matrix.columns);
  check(launch_widen_rows(matrix.packed(), first, count, Widened::bf16, scratch.widened.data(), stream.get()),
        "widening weights");
  return scratch.widened.data();
}

void set_weights(VectorProduct &product, const DeviceMatrix &matrix, int64_t first) {
  product.format = matrix.format;
  product.depth = matrix.columns;
  if (matrix.format == WeightFormat::bf16) {
    product.weight = matrix.values.data() + first * matrix.columns;
  } else {
    product.weight = matrix.codes.data() + first * matrix.packed().row_bytes;
  }
  product.row_scale = matrix.format == WeightFormat::int8 ? matrix.row_scale.data() + first : nullptr;
  product.scales = has_groups(matrix.format) ? matrix.scales.data() + first * matrix.shape().row_words() : nullptr;
  product.bias = matrix.bias.count() > 0 ? matrix.bias.data() + first : nullptr;
}

void multiply_linear(const CudaModel &model, const DeviceMatrix &matrix, int64_t first, int64_t count, const bf16 *x,
                     int64_t m, void *out, int64_t out_stride, Store store, LinearScratch &scratch,
                     const Stream &stream, Half half, float factor, bool may_split) {
  if (half == Half::f16) {
    const F16Matrix &f16 = matrix.f16;
    model.algebra().multiply({x, f16.values.data() + first * matrix.columns, out, m, count, matrix.columns,
                              matrix.columns, matrix.columns, out_stride, false, store, half, factor * f16.unit},
                             stream);
    return add_bias(matrix, first, count, m, out, out_stride, store, half, stream);
  }
  const bool is_widened = matrix.format != WeightFormat::bf16;
  // For one row, such as the LM head's in a prefill, the weights are read as they are. Not for more rows, or the bits
  // would depend on how a text is cut into chunks.
  if (is_widened && m == 1 && factor == 1.0f) {
    VectorProduct product{};
    set_weights(product, matrix, first);
    product.x = x, product.outputs = count, product.batch = static_cast<int32_t>(m);
    product.out = out, product.store = vector_store_of(store), product.device = model.device_size();
    return check(launch_vector_product(product, stream.get()), "a matrix-vector product");
  }
  const int64_t slice =
      is_widened ? std::max(SCALE_ROWS, SLICE_ELEMENTS / matrix.columns / SCALE_ROWS * SCALE_ROWS) : count;
  const int64_t out_bytes = store == Store::half ? sizeof(bf16) : sizeof(float);
  for (int64_t row = 0; row < count; row += slice) {
    const int64_t here = std::min(slice, count - row);
    const bf16 *rows = matrix_rows(matrix, first + row, here, scratch, stream);
    model.algebra().multiply({x, rows, static_cast<uint8_t *>(out) + row * out_bytes, m, here, matrix.columns,
                              matrix.columns, matrix.columns, out_stride, false, store, half, factor, may_split},
                             stream);
  }
  add_bias(matrix, first, count, m, out, out_stride, store, half, stream);
}

void multiply_linear_transposed(const CudaModel &model, const DeviceMatrix &matrix, int64_t first, int64_t count,
                                const bf16 *dy, int64_t dy_stride, int64_t m, void *dx, Store store,
                                LinearScratch &scratch, const Stream &stream) {
  const bf16 *rows = matrix_rows(matrix, first, count, scratch, stream);
  model.algebra().multiply(
      {dy, rows, dx, m, matrix.columns, count, dy_stride, matrix.columns, matrix.columns, true, store}, stream);
}

}  // namespace duo::cuda
