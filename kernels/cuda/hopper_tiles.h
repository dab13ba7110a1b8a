// The producer's side of Hopper kernels: one warpgroup copies tiles with cp.async while the others, the consumers,
// compute.
#pragma once
#include "cuda/hopper.h"

namespace duo::cuda {

// Start copying ROWS rows of D elements, `stride` bytes apart, by the 128 threads of a warpgroup; rows from
// `valid_rows` on become zero.
template <int D, int ROWS>
__device__ __forceinline__ void copy_rows(bf16 *tile, const uint8_t *from, int64_t stride, int valid_rows) {
  constexpr int PIECES = D / 8,
                ROWS_A_PASS = WARPGROUP / PIECES;  // a multiple of 8: a thread's place in the swizzle stays the same
  const int thread = threadIdx.x % WARPGROUP, piece = thread % PIECES, first = thread / PIECES;
  bf16 *to = tile + swizzled_offset<ROWS>(first, piece);
  from += first * stride + piece * 16;
#pragma unroll
  for (int i = 0; i < ROWS / ROWS_A_PASS; i++) {
    const bool is_valid = first + i * ROWS_A_PASS < valid_rows;
    cp_async(to + i * ROWS_A_PASS * 64, is_valid ? from + i * ROWS_A_PASS * stride : from, is_valid);
  }
}

// The barriers of a ring of STAGES tiles between a producer warpgroup and consumers; lies in shared memory. Step s uses
// stage s mod STAGES, and of each barrier the phase of parity (s / STAGES) mod 2.
//   full    the producer's 128 threads arrive when a tile's copies have landed; consumers wait for it
//   empty   consumers arrive when their products have read the tile; the producer waits before it copies into the stage again
template <int STAGES>
struct Pipeline {
  Mbarrier full[STAGES], empty[STAGES];
  // By one thread, before the block's barrier. `consumers` arrivals free a tile.
  __device__ __forceinline__ void init(int consumers) {
    for (int i = 0; i < STAGES; i++) mbarrier_init(full + i, WARPGROUP), mbarrier_init(empty + i, consumers);
  }
  __device__ __forceinline__ void consumer_wait(int step) { mbarrier_wait(full + step % STAGES, step / STAGES & 1); }
  // A fresh barrier counts the phase before its first as complete, so the first STAGES tiles are free at once.
  __device__ __forceinline__ void producer_acquire(int step) {
    mbarrier_wait(empty + step % STAGES, (step / STAGES & 1) ^ 1);
  }
  // One arrival for a warp whose wgmmas have read the tile; where its threads read the tile by loads of their own, each
  // arrives itself.
  __device__ __forceinline__ void consumer_release(int step) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(empty + step % STAGES);
  }
  __device__ __forceinline__ void consumer_release_each(int step) { mbarrier_arrive(empty + step % STAGES); }
};

// The producer's arrivals, one cp.async group late: the copies of the next tile are always under way while it waits for
// those of the last.
struct LateProducer {
  Mbarrier *late = nullptr;
  // After the copies of a tile were started: commit them as a group, and arrive for the tile before.
  __device__ __forceinline__ void commit(Mbarrier *full) {
    cp_async_commit_group();
    if (late != nullptr) {
      cp_async_wait_group<1>();
      fence_proxy_async();
      mbarrier_arrive(late);
    }
    late = full;
  }
  __device__ __forceinline__ void finish() {
    cp_async_wait_group<0>();
    fence_proxy_async();
    if (late != nullptr) mbarrier_arrive(late);
    late = nullptr;
  }
};

}  // namespace duo::cuda
