// Linear layers of many rows: the product, with int8 weights widened first, and its bias.
#pragma once
#include "cuda/cuda_model.h"

namespace duo::cuda {

// What products of one stream share: room for one int8 matrix widened to bf16.
struct LinearScratch {
  DeviceBuffer<bf16> widened;
};

// Rows first … first+count of a matrix as bf16, valid until the next call with the same scratch.
const bf16 *matrix_rows(const DeviceMatrix &matrix, const bf16 *values, int64_t first, int64_t count, LinearScratch &scratch, const Stream &stream);

// out [m, count] (stride out_stride) = x [m, columns] · rows first … first+count of W, transposed, times `factor`; plus bias.
// half f16: x, out where it is stored so, and the matrix are f16 (CudaModel::require_f16 has made it).
void multiply_linear(const CudaModel &model, const DeviceMatrix &matrix, int64_t first, int64_t count, const bf16 *x, int64_t m, void *out,
                     int64_t out_stride, Store store, LinearScratch &scratch, const Stream &stream, Half half = Half::bf16, float factor = 1.0f);

// dx [m, columns] fp32 or bf16 = dy [m, count] (stride dy_stride) · rows first … of W.
void multiply_linear_transposed(const CudaModel &model, const DeviceMatrix &matrix, int64_t first, int64_t count, const bf16 *dy,
                                int64_t dy_stride, int64_t m, void *dx, Store store, LinearScratch &scratch, const Stream &stream);

}  // namespace duo::cuda
