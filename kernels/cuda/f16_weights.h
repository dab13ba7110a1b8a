// f16 twins of weights, for passes that measure.
#pragma once
#include "core/dtype.h"
#include "cuda/device.h"
#include "cuda/device_layer.h"

namespace duo::cuda {

// *peak (device) rises to the greatest size among `count` values of F32, F16 or BF16 at `from` (device); else
// cudaErrorInvalidValue.
cudaError_t launch_peak(const void *from, Dtype dtype, int64_t count, float *peak, cudaStream_t stream);
// to [count] f16 = factor · from.
cudaError_t launch_to_f16(const void *from, Dtype dtype, int64_t count, float factor, uint16_t *to,
                          cudaStream_t stream);

// The f16 twin [rows, columns] of a matrix of bf16 values or in fewer bits, from what the device holds, with the bits
// that CudaModel::require_f16 gives it where its tensors are stored so. widened: count_widened(matrix) floats.
cudaError_t launch_derive_f16(const DeviceMatrix &matrix, float unit, float *widened, uint16_t *to,
                              cudaStream_t stream);
int64_t count_widened(const DeviceMatrix &matrix);

}  // namespace duo::cuda
