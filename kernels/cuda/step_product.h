// A linear layer of a decode step, by the product that suits the number of rows; each reads the weights once. Up to 8
// rows use matvec.h's product; more rows use skinny_product.h's or, with bf16 weights, cuBLASLt where it was opened.
#pragma once
#include "cuda/cuda_model.h"
#include "cuda/matvec.h"

namespace duo::cuda {

constexpr int64_t MAX_VECTOR_ROWS = 8;  // of matvec.h's product

struct StepProduct {
  const DeviceMatrix &matrix;
  VectorStore store;    // swiglu: gate rows, then up rows
  const bf16 *x;        // [batch, columns], or null:
  const float *hidden;  // [batch, columns] fp32, normed on the way in with
  const float *norm;    // [columns]
  void *out;            // [batch, outputs]
  int32_t *first_bad =
      nullptr;  // [batch], of the f32 store, NONE_BAD before: the least index of an output that is not finite; else NONE_BAD or −1
  bool is_dependent = true;
};

// Room for what passes between kernels where layers are not fused: normed [batch, C], gate_up [batch, 2·I], partial
// [step_partial_floats]. Null up to 8 rows.
struct StepProductRoom {
  bf16 *normed, *gate_up;
  float *partial;
};

// Number of partial sums that products of up to `batch` rows with any of a model's matrices need, in whatever format.
int64_t step_partial_floats(const CudaModel &model, int64_t batch);

void multiply_step(const CudaModel &model, const StepProduct &product, int64_t batch, const StepProductRoom &room,
                   const Stream &stream);

// What multiply_step does for more than 8 rows of bf16 weights where there is cuBLASLt: a matrix product of x, and then
// the operations that the product does not fuse.
void multiply_step_matrix(const CudaModel &model, const StepProduct &product, int64_t batch,
                          const StepProductRoom &room, const Stream &stream);

}  // namespace duo::cuda
