// Block: 8 warps over a [128, 128] tile of the output, each [64, 32]; depth in steps of 32 through three buffers filled
// by cp.async. Shared memory: 3 × (left [128, 32] + right [128, 32] or [32, 128]) bf16 = 48 KB, permuted by
// tile_offset.
#include "cuda/gemm.h"
#include "cuda/tile.h"

namespace duo::cuda {
namespace {

constexpr int TILE = 128, DEPTH = 32, STAGES = 3, THREADS = 256;

// Copy [rows, WIDTH] from (first_row, first_column) of a matrix; what lies outside [num_rows, num_columns] becomes
// zero.
template <int WIDTH>
__device__ __forceinline__ void load_block(bf16 *tile, const bf16 *from, int64_t stride, int rows, int64_t first_row,
                                           int64_t num_rows, int64_t first_column, int64_t num_columns) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * (WIDTH / 8); i += THREADS) {
    const int row = i / (WIDTH / 8), piece = i % (WIDTH / 8);
    const int64_t r = first_row + row, c = first_column + piece * 8;
    const bool is_valid = r < num_rows && c < num_columns;
    cp_async(tile + tile_offset<WIDTH>(row, piece), from + (is_valid ? r * stride + c : 0), is_valid);
  }
}

template <bool DEEP, Half HALF>
__global__ void __launch_bounds__(THREADS) product_kernel(const Product p) {
  bf16 *buffers = reinterpret_cast<bf16 *>(shared_memory());
  constexpr int STAGE = 2 * TILE * DEPTH;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * TILE,
                first_column = static_cast<int64_t>(blockIdx.x) * TILE;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_row = warp / 4 * 64, warp_column = warp % 4 * 32;
  const int64_t steps = ceil_divide(p.k, DEPTH);
  const auto load_step = [&](int64_t step) {
    if (step < steps) {
      bf16 *left = buffers + step % STAGES * STAGE, *right = left + TILE * DEPTH;
      load_block<DEPTH>(left, p.left, p.left_stride, TILE, first_row, p.m, step * DEPTH, p.k);
      if constexpr (DEEP) {
        load_block<TILE>(right, p.right, p.right_stride, DEPTH, step * DEPTH, p.k, first_column, p.n);
      } else {
        load_block<DEPTH>(right, p.right, p.right_stride, TILE, first_column, p.n, step * DEPTH, p.k);
      }
    }
    cp_async_commit_group();  // a group per step even past the end, so that the count of groups stays the same
  };
  for (int step = 0; step < STAGES - 1; step++) load_step(step);

  float sum[4][4][4];
#pragma unroll
  for (int m = 0; m < 4; m++) {
#pragma unroll
    for (int n = 0; n < 4; n++) {
      for (int i = 0; i < 4; i++) sum[m][n][i] = 0.0f;
    }
  }
  for (int64_t step = 0; step < steps; step++) {
    cp_async_wait_group<STAGES - 2>();
    __syncthreads();  // the step's buffer is whole, and nobody reads the one about to be filled
    load_step(step + STAGES - 1);
    const bf16 *left = buffers + step % STAGES * STAGE, *right = left + TILE * DEPTH;
#pragma unroll
    for (int k = 0; k < DEPTH; k += 16) {
      uint32_t a[4][4], b[2][4];
#pragma unroll
      for (int m = 0; m < 4; m++) load_left<DEPTH>(a[m], left, warp_row + m * 16, k);
#pragma unroll
      for (int n = 0; n < 2; n++) {
        if constexpr (DEEP) {
          load_right_transposed<TILE>(b[n], right, k, warp_column + n * 16);
        } else {
          load_right<DEPTH>(b[n], right, warp_column + n * 16, k);
        }
      }
#pragma unroll
      for (int m = 0; m < 4; m++) {
#pragma unroll
        for (int n = 0; n < 2; n++) {
          mma_m16n8k16<HALF>(sum[m][2 * n], a[m], b[n][0], b[n][1]);
          mma_m16n8k16<HALF>(sum[m][2 * n + 1], a[m], b[n][2], b[n][3]);
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < 4; m++) {
#pragma unroll
    for (int n = 0; n < 4; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int64_t row = first_row + warp_row + m * 16 + i / 2 * 8 + lane / 4,
                      column = first_column + warp_column + n * 8 + lane % 4 * 2 + i % 2;
        if (row >= p.m || column >= p.n) continue;
        const int64_t at = row * p.out_stride + column;
        const float value = p.factor * sum[m][n][i];
        if (p.store == Store::half) {
          static_cast<uint16_t *>(p.out)[at] = narrow_as<HALF>(value);
        } else if (p.store == Store::f32) {
          static_cast<float *>(p.out)[at] = value;
        } else {
          static_cast<float *>(p.out)[at] += value;
        }
      }
    }
  }
}

}  // namespace

cudaError_t launch_product(const Product &p, cudaStream_t stream) {
  if (p.k % 8 != 0 || p.left_stride % 8 != 0 || p.right_stride % 8 != 0 || (p.right_is_deep && p.n % 8 != 0))
    return cudaErrorInvalidValue;
  // Rows go along y, which holds 65535 blocks: 8 million rows.
  const Grid grid{dim3(static_cast<unsigned>(ceil_divide(p.n, TILE)), static_cast<unsigned>(ceil_divide(p.m, TILE))),
                  THREADS, STAGES * 2 * TILE * DEPTH * sizeof(bf16)};
  if (p.half == Half::f16)
    return launch(grid, stream, p.right_is_deep ? product_kernel<true, Half::f16> : product_kernel<false, Half::f16>,
                  p);
  return launch(grid, stream, p.right_is_deep ? product_kernel<true, Half::bf16> : product_kernel<false, Half::bf16>,
                p);
}

}  // namespace duo::cuda
