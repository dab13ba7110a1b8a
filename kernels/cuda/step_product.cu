#include "cuda/step_product.h"

#include <algorithm>

#include "cuda/layer_ops.h"
#include "cuda/linear_layer.h"
#include "cuda/reductions.h"

namespace duo::cuda {
namespace {

void multiply_vectors(const CudaModel &model, const StepProduct &p, int64_t first, int64_t count,
                      const Stream &stream) {
  const int64_t outputs = p.store == VectorStore::swiglu ? p.matrix.rows / 2 : p.matrix.rows, depth = p.matrix.columns;
  const bool is_narrow = p.store == VectorStore::bf16 || p.store == VectorStore::swiglu;
  VectorProduct product{};
  set_weights(product, p.matrix);
  product.x = p.x != nullptr ? p.x + first * depth : nullptr;
  product.hidden = p.hidden != nullptr ? p.hidden + first * depth : nullptr;
  product.norm = p.norm;
  product.eps = model.config().rms_norm_eps;
  product.outputs = outputs;
  product.batch = static_cast<int32_t>(count);
  product.out = static_cast<uint8_t *>(p.out) + first * outputs * (is_narrow ? 2 : 4);
  product.store = p.store;
  product.device = model.device_size();
  product.is_dependent = p.is_dependent;
  product.first_bad = p.first_bad != nullptr ? p.first_bad + first : nullptr;
  check(launch_vector_product(product, stream.get()), "a matrix-vector product");
}

void multiply_matrix(const CudaModel &model, const StepProduct &p, int64_t batch, const StepProductRoom &room,
                     const Stream &stream) {
  const int64_t rows = p.matrix.rows, outputs = p.store == VectorStore::swiglu ? rows / 2 : rows;
  const bf16 *x = p.x;
  if (x == nullptr) {
    check(launch_rms_norm(p.hidden, p.norm, batch, p.matrix.columns, model.config().rms_norm_eps, room.normed,
                          stream.get()),
          "a norm");
    x = room.normed;
  }
  LinearScratch none;  // widens nothing: the weights are bf16
  const Store store = p.store == VectorStore::add_f32 ? Store::add_f32
                      : p.store == VectorStore::f32   ? Store::f32
                                                      : Store::half;
  multiply_linear(model, p.matrix, 0, rows, x, batch, p.store == VectorStore::swiglu ? room.gate_up : p.out, rows,
                  store, none, stream);
  if (p.store == VectorStore::swiglu)
    check(launch_swiglu(room.gate_up, batch, outputs, static_cast<bf16 *>(p.out), stream.get()), "swiglu");
  if (p.first_bad != nullptr)
    check(launch_check_finite(static_cast<float *>(p.out), batch, outputs, p.first_bad, stream.get()),
          "checking logits");
}

}  // namespace

bool takes_matrix_product(const StepProduct &product, int64_t batch) {
  return batch > MOST_VECTOR_ROWS && product.matrix.format == WeightFormat::bf16;
}

void multiply_step(const CudaModel &model, const StepProduct &product, int64_t batch, const StepProductRoom &room,
                   const Stream &stream) {
  if (takes_matrix_product(product, batch)) return multiply_matrix(model, product, batch, room, stream);
  for (int64_t first = 0; first < batch; first += MOST_VECTOR_ROWS)
    multiply_vectors(model, product, first, std::min(MOST_VECTOR_ROWS, batch - first), stream);
}

}  // namespace duo::cuda
