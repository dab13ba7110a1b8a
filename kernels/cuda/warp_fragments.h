// Pieces that only decode needs: waits for asynchronous copies, arrivals of blocks, a transposed 8×8 tile, and cache
// words spread to pairs of bf16.
#pragma once
#include "core/dtype.h"
#include "cuda/device.h"

namespace duo::cuda {

// cp_async_wait_group for a number known only at run time; waiting for more than asked is right too.
__device__ __forceinline__ void wait_copies_left(int groups_left) {
  switch (groups_left) {
    case 0: return cp_async_wait_group<0>();
    case 1: return cp_async_wait_group<1>();
    case 2: return cp_async_wait_group<2>();
    case 3: return cp_async_wait_group<3>();
    case 4: return cp_async_wait_group<4>();
    case 5: return cp_async_wait_group<5>();
    case 6: return cp_async_wait_group<6>();
    default: return cp_async_wait_group<7>();
  }
}
constexpr int MAX_STAGES = 9;  // so that all but two are 7 groups left

// ---- Between blocks of a grid ----

// A thread that sees a write of this thread after this call also sees its writes before it.
__device__ __forceinline__ void publish_writes() {
#ifndef DUO_EMULATION
  __threadfence();
#endif
}
// Add one arrival; returns how many there were before.
__device__ __forceinline__ int32_t count_arrival(int32_t *count) {
#ifdef DUO_EMULATION
  return (*count)++;
#else
  return atomicAdd(count, 1);
#endif
}
// *at = the lesser of *at and value, whichever thread comes first.
__device__ __forceinline__ void lower(int32_t *at, int32_t value) {
#ifdef DUO_EMULATION
  *at = value < *at ? value : *at;
#else
  atomicMin(at, value);
#endif
}
// A load past the multiprocessor's own cache, which may hold a stale line.
template <typename T>
__device__ __forceinline__ T load_fresh(const T *from) {
#ifdef DUO_EMULATION
  return *from;
#else
  return __ldcg(from);
#endif
}

// An 8×8 tile of 16-bit words, lane = 4·row + column pair, transposed in place of lanes: out holds (column pair → rows)
// of the same tile.
__device__ __forceinline__ uint32_t movmatrix(uint32_t pair) {
#ifdef DUO_EMULATION
  struct Operand {
    uint32_t in, out;
  } operand{pair, 0};
  emulation::run_warp_collective("movmatrix.trans", &operand, [](void **operands) {
    for (int lane = 0; lane < 32; lane++) {
      uint32_t out = 0;
      for (int half = 0; half < 2; half++) {
        // Element (lane / 4, 2·(lane mod 4) + half) of the result is element (2·(lane mod 4) + half, lane / 4) of the
        // operand.
        const int row = lane % 4 * 2 + half, column = lane / 4;
        out |= (static_cast<Operand *>(operands[row * 4 + column / 2])->in >> (16 * (column % 2)) & 0xffffu)
               << (16 * half);
      }
      static_cast<Operand *>(operands[lane])->out = out;
    }
  });
  return operand.out;
#else
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
  return out;
#endif
}

// a·b + c on two bf16, rounded once.
__device__ __forceinline__ uint32_t multiply_add_pair(uint32_t a, uint32_t b, uint32_t c) {
#ifdef DUO_EMULATION
  return pack_bf16(widen_low(a) * widen_low(b) + widen_low(c), widen_high(a) * widen_high(b) + widen_high(c));
#else
  uint32_t out;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(c));
  return out;
#endif
}

// ---- Raw cache values (kv_formats.h) as bf16 ---- A word holds 32 / bits values. It is spread to pairs: pair i is
// value i of its low half and value i of its high half. All results exact.

constexpr int value_bits(Dtype dtype) {
  return dtype == Dtype::int4 ? 4 : dtype == Dtype::int8 || dtype == Dtype::fp8 ? 8 : 16;
}
constexpr int pairs_a_word(Dtype dtype) { return 16 / value_bits(dtype); }

// int4's term for a low and a high value: −(128 + zero) as bf16, whose unit in the last place is 1 there. `zero` words
// as read_zero gives them.
__device__ __forceinline__ uint32_t int4_offset(float low_zero, float high_zero) {
  return 0xc300c300u + static_cast<uint32_t>(low_zero) + (static_cast<uint32_t>(high_zero) << 16);
}

template <Dtype DTYPE>
__device__ __forceinline__ void spread_word(uint32_t word, uint32_t offset, uint32_t pairs[]) {
  constexpr uint32_t ONE = 0x3f803f80u;
  if constexpr (DTYPE == Dtype::int8) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const uint32_t bytes = i == 0 ? word : word >> 8;
      // 128 + the low seven bits, less 128, or 256 where the sign bit is set.
      pairs[i] = multiply_add_pair((bytes & 0x007f007fu) | 0x43004300u, ONE, (bytes & 0x00800080u) | 0xc300c300u);
    }
  } else if constexpr (DTYPE == Dtype::fp8) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      // e4m3's bits in bf16's place have a bias of 7 instead of 127; 2^120 makes up for it, for subnormals too.
      const uint32_t magnitude = (i == 0 ? word << 4 : word >> 4) & 0x07f007f0u,
                     sign = (i == 0 ? word << 8 : word) & 0x80008000u;
      pairs[i] = multiply_add_pair(magnitude | sign, 0x7b807b80u, 0x80008000u);
    }
  } else if constexpr (DTYPE == Dtype::int4) {
#pragma unroll
    for (int i = 0; i < 4; i++)
      pairs[i] = multiply_add_pair((word >> (4 * i) & 0x000f000fu) | 0x43004300u, ONE, offset);
  } else {
    pairs[0] = word;
  }
  (void)offset;
}

}  // namespace duo::cuda
