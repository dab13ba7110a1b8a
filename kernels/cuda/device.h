// What every kernel here is written in: bf16 words, tensor-core products, asynchronous copies, warp sums, launches.
// Each primitive has two bodies: PTX for the GPU, and plain C++ with the same fragment layouts for the emulation
// (DUO_EMULATION), so that kernels have one source. Fragment layouts are those of mma.sync.m16n8k16 in the PTX manual;
// lane = 4·(row) + column pair.
#pragma once
#include <cstdint>

#ifdef DUO_EMULATION
#include "core/dtype.h"
#include "emulation/cuda_emulation.h"
#else
#include <cuda_runtime.h>
#endif

namespace duo::cuda {

using bf16 = uint16_t;  // storage; arithmetic is fp32
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr float LOG2_E = 1.4426950408889634f;

// ---- Numbers ----

__device__ __forceinline__ float bits_float(uint32_t bits) {
#ifdef DUO_EMULATION
  return bits_to_float(bits);
#else
  return __uint_as_float(bits);
#endif
}

__device__ __forceinline__ float widen(bf16 value) { return bits_float(static_cast<uint32_t>(value) << 16); }
__device__ __forceinline__ float widen_low(uint32_t pair) { return bits_float(pair << 16); }
__device__ __forceinline__ float widen_high(uint32_t pair) { return bits_float(pair & 0xffff0000u); }

// Two fp32 to two bf16, round to nearest even; `low` in the low half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
#ifdef DUO_EMULATION
  return static_cast<uint32_t>(float_to_bf16(low)) | static_cast<uint32_t>(float_to_bf16(high)) << 16;
#else
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}
__device__ __forceinline__ bf16 narrow(float value) { return static_cast<bf16>(pack_bf16(value, 0.0f) & 0xffffu); }

// Which of the two 16-bit floats a product's operands are. bf16 has fp32's range and 8 bits of precision: weights as
// published, and gradients. f16 has 11 bits up to 65504: measurements, where a difference of two passes must be
// larger than their rounding.
enum class Half { bf16, f16 };
constexpr float F16_MAX = 65504.0f;

__device__ __forceinline__ float widen_half(uint16_t value) {
#ifdef DUO_EMULATION
  return f16_to_float(value);
#else
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(value));
  return out;
#endif
}

// fp32 to fp16, round to nearest even; from 65520 on infinite.
__device__ __forceinline__ uint16_t narrow_half(float value) {
#ifdef DUO_EMULATION
  uint32_t bits = float_to_bits(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits < 0x38800000u)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(bits_to_float(bits) * 16777216.0f)));
  if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  bits += 0xfffu + (bits >> 13 & 1u);
  return static_cast<uint16_t>(sign | ((bits - 0x38000000u) >> 13));
#else
  uint16_t out;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out) : "f"(value));
  return out;
#endif
}

// The same by kind.
template <Half HALF>
__device__ __forceinline__ float widen_as(uint16_t value) {
  return HALF == Half::bf16 ? widen(value) : widen_half(value);
}
template <Half HALF>
__device__ __forceinline__ float widen_low_as(uint32_t pair) {
  return widen_as<HALF>(static_cast<uint16_t>(pair & 0xffffu));
}
template <Half HALF>
__device__ __forceinline__ float widen_high_as(uint32_t pair) {
  return widen_as<HALF>(static_cast<uint16_t>(pair >> 16));
}
template <Half HALF>
__device__ __forceinline__ uint32_t pack_as(float low, float high) {
  if constexpr (HALF == Half::bf16) return pack_bf16(low, high);
#ifdef DUO_EMULATION
  return static_cast<uint32_t>(narrow_half(low)) | static_cast<uint32_t>(narrow_half(high)) << 16;
#else
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}
template <Half HALF>
__device__ __forceinline__ uint16_t narrow_as(float value) {
  return static_cast<uint16_t>(pack_as<HALF>(value, 0.0f) & 0xffffu);
}

// 2^x; 0 for −infinity.
__device__ __forceinline__ float exp2_of(float x) {
#ifdef DUO_EMULATION
  return std::exp2(x);
#else
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
#endif
}

__device__ __forceinline__ float minus_infinity() { return bits_float(0xff800000u); }

// Neither NaN nor infinite.
__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) <= 3.4028235e38f; }

// Bytes of two words chosen by four nibbles, as prmt does.
__device__ __forceinline__ uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
#ifdef DUO_EMULATION
  const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
  uint32_t out = 0;
  for (int i = 0; i < 4; i++) out |= static_cast<uint32_t>(both >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  return out;
#else
  return __byte_perm(a, b, selector);
#endif
}

// ---- Shared memory ----

#ifdef DUO_EMULATION
__device__ __forceinline__ unsigned char *shared_memory() { return emulation::current->shared; }
#else
__device__ __forceinline__ unsigned char *shared_memory() {
  extern __shared__ __align__(128) unsigned char duo_shared[];
  return duo_shared;
}
__device__ __forceinline__ uint32_t shared_address(const void *pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}
#endif

// Copy 16 bytes from global to shared memory without waiting; `is_valid` false writes zeros and reads nothing. Both
// 16-byte aligned.
__device__ __forceinline__ void cp_async(void *shared, const void *global, bool is_valid) {
#ifdef DUO_EMULATION
  emulation::queue_async_copy(shared, global, is_valid ? 16 : 0, 16);
#else
  const int bytes = is_valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
#endif
}
// Copy 4 bytes as cp_async does 16.
__device__ __forceinline__ void cp_async_4(void *shared, const void *global, bool is_valid) {
#ifdef DUO_EMULATION
  emulation::queue_async_copy(shared, global, is_valid ? 4 : 0, 4);
#else
  const int bytes = is_valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
#endif
}
__device__ __forceinline__ void cp_async_commit_group() {
#ifdef DUO_EMULATION
  emulation::commit_async_copies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until at most GROUPS_LEFT of this thread's groups are under way; a barrier must follow before other threads' data is
// read.
template <int GROUPS_LEFT>
__device__ __forceinline__ void cp_async_wait_group() {
#ifdef DUO_EMULATION
  emulation::wait_async_copies(GROUPS_LEFT);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS_LEFT) : "memory");
#endif
}

// Four 8×8 tiles of 16-bit words from shared memory. Lane l names row l mod 8 of tile l / 8. out[i]: of tile i, words
// 2·(lane mod 4), +1 of row lane / 4; transposed: rows 2·(lane mod 4), +1 of column lane / 4.
__device__ __forceinline__ void ldmatrix_x4(uint32_t out[4], const void *row) {
#ifdef DUO_EMULATION
  struct Operand {
    const void *row;
    uint32_t *out;
  } operand{row, out};
  emulation::run_warp_collective("ldmatrix", &operand, [](void **operands) {
    for (int lane = 0; lane < 32; lane++) {
      for (int tile = 0; tile < 4; tile++) {
        const auto *words = static_cast<const uint16_t *>(static_cast<Operand *>(operands[tile * 8 + lane / 4])->row);
        static_cast<Operand *>(operands[lane])->out[tile] =
            words[lane % 4 * 2] | static_cast<uint32_t>(words[lane % 4 * 2 + 1]) << 16;
      }
    }
  });
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t out[4], const void *row) {
#ifdef DUO_EMULATION
  struct Operand {
    const void *row;
    uint32_t *out;
  } operand{row, out};
  emulation::run_warp_collective("ldmatrix.trans", &operand, [](void **operands) {
    for (int lane = 0; lane < 32; lane++) {
      for (int tile = 0; tile < 4; tile++) {
        const auto word = [&](int r) {
          return static_cast<const uint16_t *>(static_cast<Operand *>(operands[tile * 8 + r])->row)[lane / 4];
        };
        static_cast<Operand *>(operands[lane])->out[tile] =
            word(lane % 4 * 2) | static_cast<uint32_t>(word(lane % 4 * 2 + 1)) << 16;
      }
    }
  });
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

// ---- Tensor cores ----

// sum [16, 8] += a [16, 16]·b [16, 8], products of bf16 or f16, fp32 sums. With r = lane / 4, c = 2·(lane mod 4):
//   a[0] (r, c..c+1), a[1] (r+8, c), a[2] (r, c+8), a[3] (r+8, c+8); b[0] (c..c+1, r), b[1] (c+8.., r); sum[0..1] (r, c..c+1), sum[2..3] (r+8, …)
template <Half HALF = Half::bf16>
__device__ __forceinline__ void mma_m16n8k16(float sum[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
#ifdef DUO_EMULATION
  emulation::WarpProduct operand{sum, a, {b0, b1}};
  emulation::run_warp_collective("mma.m16n8k16", &operand,
                                 HALF == Half::bf16 ? emulation::multiply_bf16 : emulation::multiply_f16);
#else
  if constexpr (HALF == Half::bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

// *at = the greater of *at and value ≥ 0, as fp32; NaN counts as the greatest. In any order the same result.
__device__ __forceinline__ void raise_peak(float *at, float value) {
#ifdef DUO_EMULATION
  if (!(value <= *at)) *at = value;
#else
  atomicMax(reinterpret_cast<unsigned *>(at),
            __float_as_uint(value));  // bits of non-negative floats are ordered as they are
#endif
}

// ---- Over a warp and a block: sums in a fixed order ----

__device__ __forceinline__ float max_warp(float value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, lanes));
  return value;
}

__device__ __forceinline__ float sum_warp(float value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(ALL_LANES, value, lanes);
  return value;
}
__device__ __forceinline__ double sum_warp(double value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(ALL_LANES, value, lanes);
  return value;
}
// The sum over the block, in every thread. `scratch` [warps] in shared memory, free again after the call.
template <typename T>
__device__ __forceinline__ T sum_block(T value, T *scratch) {
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
  value = sum_warp(value);
  if (threadIdx.x % 32 == 0) scratch[warp] = value;
  __syncthreads();
  T sum = scratch[0];
  for (int i = 1; i < warps; i++) sum += scratch[i];
  __syncthreads();
  return sum;
}

// ---- Launches ----

struct Grid {
  dim3 blocks;
  int threads;
  size_t shared_bytes = 0;
};

#ifndef DUO_EMULATION
// Let `kernel` be launched with `bytes` of dynamic shared memory on the current device. Only ever raised: sessions
// launch the same kernel from several threads with other sizes, and a captured graph keeps the size that it was
// captured with.
cudaError_t allow_shared_memory(const void *kernel, size_t bytes);
#endif

template <typename... Parameters, typename... Arguments>
inline cudaError_t launch(const Grid &grid, cudaStream_t stream, void (*kernel)(Parameters...),
                          Arguments... arguments) {
#ifdef DUO_EMULATION
  return emulate_launch(grid.blocks, dim3(static_cast<unsigned>(grid.threads)), grid.shared_bytes, stream,
                        [=] { kernel(static_cast<Parameters>(arguments)...); });
#else
  if (const cudaError_t error = allow_shared_memory(reinterpret_cast<const void *>(kernel), grid.shared_bytes);
      error != cudaSuccess)
    return error;
  kernel<<<grid.blocks, grid.threads, grid.shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
#endif
}

__host__ __device__ inline int64_t ceil_divide(int64_t value, int64_t by) { return (value + by - 1) / by; }

}  // namespace duo::cuda
