#include "cuda/step_product.h"

#include <algorithm>

#include "cuda/layer_ops.h"
#include "cuda/linear_layer.h"
#include "cuda/reductions.h"
#include "cuda/skinny_product.h"

namespace duo::cuda {
namespace {

VectorProduct vector_product_of(const CudaModel &model, const StepProduct &p, int64_t batch) {
  VectorProduct product{};
  set_weights(product, p.matrix);
  product.x = p.x;
  product.hidden = p.hidden;
  product.norm = p.norm;
  product.eps = model.config().rms_norm_eps;
  product.outputs = p.store == VectorStore::swiglu ? p.matrix.rows / 2 : p.matrix.rows;
  product.batch = static_cast<int32_t>(batch);
  product.out = p.out;
  product.store = p.store;
  product.device = model.device_size();
  product.is_dependent = p.is_dependent;
  product.first_bad = p.first_bad;
  return product;
}

}  // namespace

void multiply_step_matrix(const CudaModel &model, const StepProduct &p, int64_t batch, const StepProductRoom &room,
                          const Stream &stream) {
  const int64_t rows = p.matrix.rows;
  LinearScratch none;  // widens nothing: the weights are bf16
  const Store store = p.store == VectorStore::add_f32 ? Store::add_f32
                      : p.store == VectorStore::f32   ? Store::f32
                                                      : Store::half;
  multiply_linear(model, p.matrix, 0, rows, p.x, batch, p.store == VectorStore::swiglu ? room.gate_up : p.out, rows,
                  store, none, stream, Half::bf16, 1.0f, /*may_split=*/true);
  if (p.store == VectorStore::swiglu)
    check(launch_swiglu(room.gate_up, batch, rows / 2, static_cast<bf16 *>(p.out), stream.get()), "swiglu");
  if (p.first_bad != nullptr)
    check(launch_check_finite(static_cast<float *>(p.out), batch, rows, p.first_bad, stream.get()), "checking logits");
}

void multiply_step(const CudaModel &model, const StepProduct &product, int64_t batch, const StepProductRoom &room,
                   const Stream &stream) {
  if (batch <= MAX_VECTOR_ROWS) {
    return check(launch_vector_product(vector_product_of(model, product, batch), stream.get()),
                 "a matrix-vector product");
  }
  StepProduct p = product;
  if (p.x == nullptr) {
    // Once for all blocks of the product.
    check(launch_rms_norm(p.hidden, p.norm, batch, p.matrix.columns, model.config().rms_norm_eps, room.normed,
                          stream.get()),
          "a norm");
    p.x = room.normed, p.hidden = nullptr, p.norm = nullptr;
  }
  if (p.matrix.format == WeightFormat::bf16 && model.algebra().has_library())
    return multiply_step_matrix(model, p, batch, room, stream);
  check(launch_skinny_product(vector_product_of(model, p, batch), room.partial, stream.get()),
        "a product of many vectors");
}

int64_t step_partial_floats(const CudaModel &model, int64_t batch) {
  const ModelConfig &config = model.config();
  int64_t most = 0;
  const auto allow = [&](int64_t outputs, int64_t depth, VectorStore store) {
    for (const WeightFormat format :
         {WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4, WeightFormat::scaled8, WeightFormat::affine8}) {
      VectorProduct product{};
      product.format = format, product.depth = depth, product.outputs = outputs, product.store = store;
      product.batch = static_cast<int32_t>(batch), product.device = model.device_size();
      most = std::max(most, skinny_partial_floats(product));
    }
  };
  allow(config.query_width() + 2 * config.kv_width(), config.hidden, VectorStore::bf16);
  allow(config.hidden, config.query_width(), VectorStore::add_f32);
  allow(config.intermediate, config.hidden, VectorStore::swiglu);
  allow(config.hidden, config.intermediate, VectorStore::add_f32);
  allow(config.vocab, config.hidden, VectorStore::f32);
  return most;
}

}  // namespace duo::cuda
