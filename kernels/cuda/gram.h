// Blocks of a Gram matrix on the GPU, in fp64 and in the order of core/gram.cpp, so that the bits are the CPU's.
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

// sums [num_a, num_b] fp64 = ⟨a_r, b_c⟩; a [num_a, length], b [num_b, length]. lower_only: only c ≤ r is written. At
// most 65535·16 rows of a.
cudaError_t launch_gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, bool lower_only,
                        double *sums, cudaStream_t stream);

}  // namespace duo::cuda
