// A linear layer of a decode step, by the product that suits the number of rows: up to 8 by the fused matrix-vector
// kernel; more bf16 rows by a matrix product, which reads the weights once for all; more rows of weights in fewer bits
// eight at a time, as widened they would be read three times.
#pragma once
#include "cuda/cuda_model.h"
#include "cuda/matvec.h"

namespace duo::cuda {

constexpr int64_t MOST_VECTOR_ROWS = 8;  // of one matrix-vector product

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

// Room for what stands between kernels where layers are not fused: normed [batch, C], gate_up [batch, 2·I]. Null up to
// 8 rows and with weights in fewer bits.
struct StepProductRoom {
  bf16 *normed, *gate_up;
};

// Whether `batch` rows go through matrix products, which need that room.
bool takes_matrix_product(const StepProduct &product, int64_t batch);

void multiply_step(const CudaModel &model, const StepProduct &product, int64_t batch, const StepProductRoom &room,
                   const Stream &stream);

}  // namespace duo::cuda
