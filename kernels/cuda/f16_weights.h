// f16 twins of weights, for passes that measure.
#pragma once
#include "core/dtype.h"
#include "cuda/device.h"

namespace duo::cuda {

// *peak (device) rises to the greatest size among `count` values of F32, F16 or BF16 at `from` (device); else
// cudaErrorInvalidValue.
cudaError_t launch_peak(const void *from, Dtype dtype, int64_t count, float *peak, cudaStream_t stream);
// to [count] f16 = factor · from.
cudaError_t launch_to_f16(const void *from, Dtype dtype, int64_t count, float factor, uint16_t *to,
                          cudaStream_t stream);

}  // namespace duo::cuda
