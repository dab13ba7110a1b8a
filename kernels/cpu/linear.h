// Linear layers y = x·Wᵀ + b over weights kept as stored (F32, F16, BF16, or blocks of GGUF files), and their input
// gradient. Large products go through packed panels, up to 8 rows through a matrix-vector path that reads each weight
// once.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "core/weight_map.h"
#include "cpu/block_panels.h"
#include "cpu/simd/simd_ops.h"
#include "cpu/thread_pool.h"

namespace duo {

struct CpuContext {
  ThreadPool &pool;
  const SimdOps &ops;
  int32_t compute;             // DUO_COMPUTE_…
  const Task *task = nullptr;  // long loops check it for abort

  // Run items on the pool, stopping between two items once the task is aborted.
  template <typename Body>
  void run(int64_t num_items, const Body &body) const {
    pool.run(num_items, [&](int64_t item, int64_t worker) {
      if (task != nullptr) task->check_abort();
      body(item, worker);
    });
  }
};

struct Linear {
  Tensor weight;            // [out, in], unowned
  std::vector<float> bias;  // [out] or empty
  BlockPanels panels{};     // of a quantised weight, or empty; unowned
  int64_t in() const { return weight.columns; }
  int64_t out() const { return weight.rows; }
};

// y [rows, out] = x [rows, in]·Wᵀ + bias, or added to y. Row strides in elements. The sum's order does not depend on
// `rows` beyond the choice of path (rows <= 8 or more; int8 activations have one path), nor on the number of threads.
void multiply_linear(const CpuContext &context, const Linear &linear, const float *x, int64_t x_stride, int64_t rows,
                     float *y, int64_t y_stride, bool accumulate);

// One of several products with the same x.
struct LinearOutput {
  const Linear *linear;
  float *y;
  int64_t y_stride;
  bool accumulate;
};

// multiply_linear for each output; few rows meet all their weights in one fork of the pool.
void multiply_linears(const CpuContext &context, const float *x, int64_t x_stride, int64_t rows,
                      std::initializer_list<LinearOutput> outputs);

// dx [rows, in] = dy [rows, out]·W, or added to dx.
void multiply_linear_transposed(const CpuContext &context, const Linear &linear, const float *dy, int64_t dy_stride,
                                int64_t rows, float *dx, int64_t dx_stride, bool accumulate);

// Plain twins: the shortest loops, fp32 in index order.
void multiply_linear_ref(const Linear &linear, const float *x, int64_t x_stride, int64_t rows, float *y,
                         int64_t y_stride, bool accumulate);
void multiply_linear_transposed_ref(const Linear &linear, const float *dy, int64_t dy_stride, int64_t rows, float *dx,
                                    int64_t dx_stride, bool accumulate);

}  // namespace duo
