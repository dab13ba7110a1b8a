// Filling tiles for the tensor cores of Hopper: one warpgroup copies rows with cp.async while others compute. Copies are started in order, one
// group each, and handed over one group late, so that the next is always under way.
#pragma once
#include "cuda/hopper.h"

namespace duo::cuda {

// Start copying ROWS rows of D elements, `stride` bytes apart, by the 128 threads of a warpgroup; rows from `valid_rows` on become zero.
template <int D, int ROWS>
__device__ __forceinline__ void copy_rows(bf16 *tile, const uint8_t *from, int64_t stride, int valid_rows) {
  constexpr int PIECES = D / 8, ROWS_A_PASS = WARPGROUP / PIECES;  // a multiple of 8: a thread's place in the swizzle stays the same
  const int thread = threadIdx.x % WARPGROUP, piece = thread % PIECES, first = thread / PIECES;
  bf16 *to = tile + swizzled_offset<ROWS>(first, piece);
  from += first * stride + piece * 16;
#pragma unroll
  for (int i = 0; i < ROWS / ROWS_A_PASS; i++) {
    const bool is_valid = first + i * ROWS_A_PASS < valid_rows;
    copy_async(to + i * ROWS_A_PASS * 64, is_valid ? from + i * ROWS_A_PASS * stride : from, is_valid);
  }
}

// A ring of STAGES tiles between a filling warpgroup and consumers.
template <int STAGES>
struct TileRing {
  Barrier *full, *empty;  // [STAGES] each
  // By one thread, before the block's barrier. `consumers` arrivals free a tile.
  __device__ __forceinline__ void open(int consumers) {
    for (int i = 0; i < STAGES; i++) open_barrier(full + i, WARPGROUP), open_barrier(empty + i, consumers);
  }
  static __device__ __forceinline__ int stage(int step) { return step % STAGES; }
  __device__ __forceinline__ void wait_full(int step) { wait_barrier(full + step % STAGES, step / STAGES & 1); }
  __device__ __forceinline__ void wait_empty(int step) { wait_barrier(empty + step % STAGES, (step / STAGES & 1) ^ 1); }
  // A warp's word that its products have read the tile; where its threads read it by loads of their own, each gives its own word instead.
  __device__ __forceinline__ void release(int step) {
    if (threadIdx.x % 32 == 0) arrive(empty + step % STAGES);
  }
  __device__ __forceinline__ void release_each(int step) { arrive(empty + step % STAGES); }
};

// The order in which a filling warpgroup hands over what it has started to copy.
struct HandOver {
  Barrier *late = nullptr;
  // After the copies of a tile were started: commit them, and hand over the tile before.
  __device__ __forceinline__ void next(Barrier *full) {
    commit_copies();
    if (late != nullptr) {
      wait_copies<1>();
      publish_to_tensor_cores();
      arrive(late);
    }
    late = full;
  }
  __device__ __forceinline__ void finish() {
    wait_copies<0>();
    publish_to_tensor_cores();
    if (late != nullptr) arrive(late);
    late = nullptr;
  }
};

}  // namespace duo::cuda
