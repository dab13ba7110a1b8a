// Matrix products of 16-bit floats with fp32 sums. The project's own tensor-core kernel always works; cuBLASLt, where
// it can be opened at run time, takes its place (linear_algebra.h chooses).
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

enum class Store { half, f32, add_f32 };  // write as the operands' kind, write as fp32, add to fp32

// out [m, n] = factor · left [m, k]·right; right is [n, k] (a weight as stored), or [k, n] where `right_is_deep` (its
// transpose is multiplied by). Rows lie *_stride elements apart. k, and n where right_is_deep, and the strides of left
// and right are multiples of 8; left, right 16-byte aligned.
struct Product {
  const bf16 *left, *right;
  void *out;
  int64_t m, n, k, left_stride, right_stride, out_stride;
  bool right_is_deep;
  Store store;
  Half half = Half::bf16;  // of left, right, and out where it is stored so
  float factor = 1.0f;
  // Whether a device may sum a row in several parts: faster for few rows, but in which parts is each card's own choice, two
  // of one kind among them. Of decode steps only; what is measured has the same bits on every card of a kind.
  bool may_split = false;
};
cudaError_t launch_product(const Product &product, cudaStream_t stream);

}  // namespace duo::cuda
