// Tiles of bf16 rows in shared memory, their 16-byte pieces permuted so that eight rows of one column fall on different
// banks, and the fragments that tensor-core products read from them.
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

// Element offset of piece `piece` (8 elements) of `row` in a tile of WIDTH columns, a multiple of 16. Rows of a stride
// of 2 or 4 pieces past a multiple of 8 fall on every second or fourth bank group, so fewer bits of the row are enough.
template <int WIDTH>
__device__ __forceinline__ int tile_offset(int row, int piece) {
  constexpr int PIECES = WIDTH / 8;
  static_assert(PIECES % 2 == 0);
  const int turn = PIECES % 8 == 0 ? row & 7 : PIECES % 4 == 0 ? row >> 1 & 3 : row >> 2 & 1;
  return row * WIDTH + (piece ^ turn) * 8;
}

// A operand [16 rows from `row`, 16 columns from `column`] of a tile whose rows are the product's rows.
template <int WIDTH>
__device__ __forceinline__ void load_left(uint32_t a[4], const bf16 *tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  ldmatrix_x4(a, tile + tile_offset<WIDTH>(row + (lane / 8 % 2) * 8 + lane % 8, column / 8 + lane / 16));
}

// B operands of two products, [16 deep from `column`, 8 wide] each, of a tile whose rows are the product's columns
// (rows row…row+7, +8…+15): b[0], b[1] for the first, b[2], b[3] for the second.
template <int WIDTH>
__device__ __forceinline__ void load_right(uint32_t b[4], const bf16 *tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  ldmatrix_x4(b, tile + tile_offset<WIDTH>(row + lane / 16 * 8 + lane % 8, column / 8 + lane / 8 % 2));
}

// The same of a tile whose rows are the depth: rows row…row+15 deep, columns column…+7 and column+8…+15.
template <int WIDTH>
__device__ __forceinline__ void load_right_transposed(uint32_t b[4], const bf16 *tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  ldmatrix_x4_trans(b, tile + tile_offset<WIDTH>(row + lane / 8 % 2 * 8 + lane % 8, column / 8 + lane / 16));
}

// Start copying `rows` rows of WIDTH elements to a tile, THREADS threads together; rows from `valid_rows` on become
// zero.
template <int WIDTH, int THREADS>
__device__ __forceinline__ void copy_tile(bf16 *tile, const bf16 *from, int64_t row_stride, int rows, int valid_rows) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * (WIDTH / 8); i += THREADS) {
    const int row = i / (WIDTH / 8), piece = i % (WIDTH / 8);
    const bool is_valid = row < valid_rows;
    cp_async(tile + tile_offset<WIDTH>(row, piece), from + (is_valid ? row * row_stride : 0) + piece * 8, is_valid);
  }
}

}  // namespace duo::cuda
