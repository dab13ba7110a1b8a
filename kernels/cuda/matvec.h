// Products of a weight matrix with 1 to 8 vectors, bound by reading the weights once: the linear layers of decode, with
// the operations before and after them fused in.
#pragma once
#include "core/packed_weights.h"
#include "cuda/runtime.h"

namespace duo::cuda {

enum class VectorStore {
  bf16,
  f32,
  add_f32,
  swiglu
};  // swiglu: weight rows n and n + outputs give out[n] = silu(a)·b, bf16

struct VectorProduct {
  const void *weight;  // [rows, depth] bf16 or int8; codes of a format with groups
  WeightFormat format = WeightFormat::bf16;
  const float *row_scale;  // [rows] of int8 weights
  const uint32_t *scales;  // of a format with groups
  const float *bias;       // [rows] or null
  const bf16 *x;           // [batch, depth], or null:
  const float *hidden;     // [batch, depth] fp32, normed on the way in with
  const float *norm;       // [depth]
  float eps;
  int64_t depth, outputs;  // outputs: rows, or half of them for swiglu
  int32_t batch;           // 1 … 8
  void *out;               // [batch, outputs]
  VectorStore store;
  DeviceSize device;
  int32_t blocks_a_multiprocessor = 1;
  int32_t stages = 0;         // of 16 bytes per row on their way, per thread; 0: chosen
  bool is_dependent = false;  // weights may be read before the kernel before this one ends (dependent_launch.h)
  int32_t *first_bad =
      nullptr;  // [batch], of the f32 store: lowered to the least index of an output that is NaN or infinite
};
// depth a multiple of 8 (16 with int8 weights, 32 with groups, where outputs of swiglu are a multiple of 8); weight
// 16-byte aligned. The order of each sum depends on depth and the weights' type alone.
cudaError_t launch_vector_product(const VectorProduct &product, cudaStream_t stream);

}  // namespace duo::cuda
