// Products of a weight matrix with up to 64 vectors that read the weights once: the linear layers of a decode step of
// many sessions. (A product of few vectors is "skinny"; for up to 8 vectors use matvec.h's.)
#pragma once
#include "cuda/matvec.h"

namespace duo::cuda {

constexpr int32_t MAX_SKINNY_VECTORS = 64;

// product: as launch_vector_product takes it, of 1 to 64 vectors, which are given as x; `blocks_a_multiprocessor` is
// ignored. partial: room of skinny_partial_floats(product) elements, which nothing else uses until the product has
// ended; null where that is 0. The order of each sum depends on the matrix, its format and the device alone: a vector's
// result has the same bits whatever others there are and however many. cudaErrorInvalidValue: shapes that
// launch_vector_product refuses, hidden states, more than 64 vectors, less than 97 KB of shared memory.
cudaError_t launch_skinny_product(const VectorProduct &product, float *partial, cudaStream_t stream);
int64_t skinny_partial_floats(const VectorProduct &product);

}  // namespace duo::cuda
