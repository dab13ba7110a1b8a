// Linear layers of many rows: the product, with weights in fewer bits widened to bf16 first, and its bias.
#pragma once
#include "cuda/cuda_model.h"
#include "cuda/matvec.h"

namespace duo::cuda {

// What products of one stream share: room for rows of a matrix widened to bf16.
struct LinearScratch {
  DeviceBuffer<bf16> widened;
};

// Rows first … first+count of a matrix as bf16, valid until the next call with the same scratch.
const bf16 *matrix_rows(const DeviceMatrix &matrix, int64_t first, int64_t count, LinearScratch &scratch,
                        const Stream &stream);

// The weights and bias of a vector product with the rows of a matrix from `first`, a multiple of 8, on.
void set_weights(VectorProduct &product, const DeviceMatrix &matrix, int64_t first = 0);

// out [m, count] (stride out_stride) = x [m, columns] · rows first … first+count of W, transposed, times `factor`; plus
// bias. half f16: x, out where it is stored so, and the matrix are f16 (CudaModel::require_f16 has made it). may_split:
// gemm.h.
void multiply_linear(const CudaModel &model, const DeviceMatrix &matrix, int64_t first, int64_t count, const bf16 *x,
                     int64_t m, void *out, int64_t out_stride, Store store, LinearScratch &scratch,
                     const Stream &stream, Half half = Half::bf16, float factor = 1.0f, bool may_split = false);

// dx [m, columns] fp32 or bf16 = dy [m, count] (stride dy_stride) · rows first … of W.
void multiply_linear_transposed(const CudaModel &model, const DeviceMatrix &matrix, int64_t first, int64_t count,
                                const bf16 *dy, int64_t dy_stride, int64_t m, void *dx, Store store,
                                LinearScratch &scratch, const Stream &stream);

}  // namespace duo::cuda
