// What Hopper has and older GPUs lack: matrix products of a warpgroup (four warps, 128 threads) straight from
// shared memory, barriers that count arrivals, registers moved between warpgroups. As in device.h each primitive has
// two bodies, PTX and the emulation's. The PTX needs sm_90a; elsewhere these functions trap, and launchers ask
// `has_hopper` first.
// Source: PTX manual, "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

#if defined(DUO_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define DUO_HOPPER_CODE 1
#else
#define DUO_HOPPER_CODE 0
#endif

constexpr int WARPGROUP = 128;

// Whether the selected device runs sm_90a code. DUO_HOPPER=0 in the environment says no, for tests of the other
// kernels.
bool has_hopper();

// ---- Tiles ---- [rows, 64·n] bf16 as n planes of [rows, 64], 128 bytes per row, the row's 16-byte pieces permuted as
// the 128-byte swizzle wants: it exchanges address bits 4–6 with bits 7–9, so planes begin at multiples of 1024 bytes.

__device__ __forceinline__ uint32_t shared_offset(const void *pointer) {
#ifdef DUO_EMULATION
  return static_cast<uint32_t>(static_cast<const unsigned char *>(pointer) - emulation::current->shared);
#else
  return shared_address(pointer);
#endif
}

// The block's shared memory from its first multiple of 1024 bytes on; launches ask for 1024 more.
__device__ __forceinline__ unsigned char *swizzled_memory() {
  unsigned char *memory = shared_memory();
  return memory + (1024 - shared_offset(memory) % 1024) % 1024;
}

template <int ROWS>
__device__ __forceinline__ int swizzled_offset(int row, int piece) {
  return (piece / 8) * (ROWS * 64) + row * 64 + ((piece % 8) ^ (row % 8)) * 8;
}

// How the tensor cores find an operand in a tile of ROWS rows: by rows of 8 that lie 1024 bytes apart, 128-byte
// swizzle, and, where the operand's long side runs along the row (`deep`), planes that lie ROWS·128 bytes apart.
template <int ROWS>
__device__ __forceinline__ uint64_t smem_descriptor(const bf16 *tile) {
  const auto address = static_cast<uint64_t>(shared_offset(tile));
  return (address & 0x3ffffu) >> 4 | static_cast<uint64_t>(ROWS * 128 >> 4) << 16 |
         static_cast<uint64_t>(1024 >> 4) << 32 | uint64_t{1} << 62;
}
// The same operand `bytes` further on.
__device__ __forceinline__ uint64_t advance(uint64_t operand, int bytes) {
  return operand + static_cast<uint64_t>(bytes >> 4);
}

// Depth step k of 16 of an operand whose rows are the product's rows or columns: 32 bytes along the row, in the next
// plane after 64.
template <int ROWS>
__device__ __forceinline__ uint64_t advance_k_major(uint64_t operand, int k) {
  return advance(operand, k / 4 * (ROWS * 128) + k % 4 * 32);
}
// The same where rows are the depth: 16 rows.
__device__ __forceinline__ uint64_t advance_mn_major(uint64_t operand, int k) { return advance(operand, k * 2048); }

// ---- Products of a warpgroup ---- sum [64, N] (N/2 floats per thread): with w the warp in its group, r = lane / 4, c =
// 2·(lane mod 4), sum[4j + i] is row 16w + r + 8·(i / 2), column 8j + c + i mod 2; `left` registers as mma_m16n8k16's
// a. Nothing of `sum`, `left` or the tiles may be touched until waited for.

__device__ __forceinline__ void wgmma_fence() {
#if defined(DUO_EMULATION)
#elif DUO_HOPPER_CODE
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void wgmma_commit_group() {
#if defined(DUO_EMULATION)
  emulation::commit_warpgroup_products();
#elif DUO_HOPPER_CODE
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
// Wait until at most GROUPS_LEFT committed groups are under way.
template <int GROUPS_LEFT>
__device__ __forceinline__ void wgmma_wait_group() {
#if defined(DUO_EMULATION)
  emulation::wait_warpgroup_products(GROUPS_LEFT);
#elif DUO_HOPPER_CODE
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS_LEFT) : "memory");
#endif
}
// After a wait: the compiler must not read these registers before it.
template <int N>
__device__ __forceinline__ void wgmma_fence_operand([[maybe_unused]] float (&sum)[N]) {
#ifndef DUO_EMULATION
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(sum[i])::"memory");
#endif
}

#define DUO_SUMS_8(sum, i)                                                                                \
  "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3]), "+f"(sum[i + 4]), "+f"(sum[i + 5]), \
      "+f"(sum[i + 6]), "+f"(sum[i + 7])
#define DUO_SUMS_32(sum, i) DUO_SUMS_8(sum, i), DUO_SUMS_8(sum, i + 8), DUO_SUMS_8(sum, i + 16), DUO_SUMS_8(sum, i + 24)
#define DUO_NAMES_32                                                                                                   \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30," \
  "%31"
#define DUO_NAMES_64                                                                                               \
  DUO_NAMES_32                                                                                                     \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%" \
  "59,%60,%61,%62,%63"

// sum (+)= left·right, 16 deep: left [64, 16] from a tile's rows, right [N, 16] from a tile's rows (its transpose is
// multiplied by). `adds` false: sum is overwritten.
template <Half HALF = Half::bf16>
__device__ __forceinline__ void wgmma_ss(float (&sum)[32], uint64_t left, uint64_t right, bool adds) {
#if defined(DUO_EMULATION)
  emulation::queue_warpgroup_product({sum, 32, nullptr, left, right, false, adds, HALF == Half::f16});
#elif DUO_HOPPER_CODE
  if constexpr (HALF == Half::bf16) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" DUO_NAMES_32
        "}, %32, %33, p, 1, 1, 0, 0;\n}"
        : DUO_SUMS_32(sum, 0)
        : "l"(left), "l"(right), "r"(static_cast<int>(adds)));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" DUO_NAMES_32
        "}, %32, %33, p, 1, 1, 0, 0;\n}"
        : DUO_SUMS_32(sum, 0)
        : "l"(left), "l"(right), "r"(static_cast<int>(adds)));
  }
#else
  __trap();
#endif
}
template <Half HALF = Half::bf16>
__device__ __forceinline__ void wgmma_ss(float (&sum)[64], uint64_t left, uint64_t right, bool adds) {
#if defined(DUO_EMULATION)
  emulation::queue_warpgroup_product({sum, 64, nullptr, left, right, false, adds, HALF == Half::f16});
#elif DUO_HOPPER_CODE
  if constexpr (HALF == Half::bf16) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" DUO_NAMES_64
        "}, %64, %65, p, 1, 1, 0, 0;\n}"
        : DUO_SUMS_32(sum, 0), DUO_SUMS_32(sum, 32)
        : "l"(left), "l"(right), "r"(static_cast<int>(adds)));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" DUO_NAMES_64
        "}, %64, %65, p, 1, 1, 0, 0;\n}"
        : DUO_SUMS_32(sum, 0), DUO_SUMS_32(sum, 32)
        : "l"(left), "l"(right), "r"(static_cast<int>(adds)));
  }
#else
  __trap();
#endif
}

// sum += left·right, 16 deep: left [64, 16] from registers, right [16, N] from a tile whose rows are the depth.
template <Half HALF = Half::bf16>
__device__ __forceinline__ void wgmma_rs(float (&sum)[32], const uint32_t (&left)[4], uint64_t right) {
#if defined(DUO_EMULATION)
  emulation::queue_warpgroup_product({sum, 32, left, 0, right, true, true, HALF == Half::f16});
#elif DUO_HOPPER_CODE
  if constexpr (HALF == Half::bf16) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" DUO_NAMES_32
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
                 : DUO_SUMS_32(sum, 0)
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right));
  } else {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" DUO_NAMES_32
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
                 : DUO_SUMS_32(sum, 0)
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right));
  }
#else
  __trap();
#endif
}
template <Half HALF = Half::bf16>
__device__ __forceinline__ void wgmma_rs(float (&sum)[64], const uint32_t (&left)[4], uint64_t right) {
#if defined(DUO_EMULATION)
  emulation::queue_warpgroup_product({sum, 64, left, 0, right, true, true, HALF == Half::f16});
#elif DUO_HOPPER_CODE
  if constexpr (HALF == Half::bf16) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" DUO_NAMES_64
                 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
                 : DUO_SUMS_32(sum, 0), DUO_SUMS_32(sum, 32)
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right));
  } else {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" DUO_NAMES_64
                 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
                 : DUO_SUMS_32(sum, 0), DUO_SUMS_32(sum, 32)
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right));
  }
#else
  __trap();
#endif
}
#undef DUO_SUMS_8
#undef DUO_SUMS_32
#undef DUO_NAMES_32
#undef DUO_NAMES_64

// Make this thread's ordinary stores and cp.async to shared memory visible to the tensor cores; call it before the
// barrier that hands them over.
__device__ __forceinline__ void fence_proxy_async() {
#if defined(DUO_EMULATION)
#elif DUO_HOPPER_CODE
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// ---- Barriers that count arrivals (mbarrier), 8 bytes of shared memory each ----

using Mbarrier = uint64_t;

__device__ __forceinline__ void mbarrier_init(Mbarrier *barrier, int arrivals) {
#if defined(DUO_EMULATION)
  emulation::open_counting_barrier(barrier, static_cast<unsigned>(arrivals));
#elif DUO_HOPPER_CODE
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
#endif
}
__device__ __forceinline__ void mbarrier_arrive(Mbarrier *barrier) {
#if defined(DUO_EMULATION)
  emulation::arrive_at_counting_barrier(barrier);
#elif DUO_HOPPER_CODE
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#endif
}
// Wait until the barrier's round of this parity (0, 1, 0, …) is complete; parity 1 of a fresh barrier counts as
// complete.
__device__ __forceinline__ void mbarrier_wait(Mbarrier *barrier, uint32_t parity) {
#if defined(DUO_EMULATION)
  emulation::wait_for_counting_barrier(barrier, parity);
#elif DUO_HOPPER_CODE
  asm volatile(
      "{\n.reg .pred done;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra READY;\nbra "
      "AGAIN;\nREADY:\n}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
#endif
}

// ---- Registers ----

// This warpgroup keeps (or takes) COUNT registers per thread of the block's share; all warpgroups' together at most 512
// at 128 threads each.
template <int COUNT>
__device__ __forceinline__ void setmaxnreg_dec() {
#if !defined(DUO_EMULATION) && DUO_HOPPER_CODE
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}
template <int COUNT>
__device__ __forceinline__ void setmaxnreg_inc() {
#if !defined(DUO_EMULATION) && DUO_HOPPER_CODE
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}

}  // namespace duo::cuda
