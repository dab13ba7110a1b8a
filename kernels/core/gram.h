// Blocks of a Gram matrix in fp64, for the quadratic method.
#pragma once
#include <cstdint>

#include "core/task.h"

namespace duo {

// gram[r·gram_stride + c] += scale·⟨a_r, b_c⟩; a [num_a, length], b [num_b, length]. The order of the sum is fixed.
void accumulate_gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, double scale,
                     int32_t num_threads, Task &task, double *gram, int64_t gram_stride);

}  // namespace duo
