// Block: 8 warps, ROWS weight rows each; a lane reads 16 bytes of each row at a time, all rows' loads in flight before the first use.
// Shared memory: the vectors [batch, piece] bf16, a piece of the depth at a time (all of it up to 64 KB); 32 floats for sums.
#include "cuda/matvec.h"

namespace duo::cuda {
namespace {

constexpr int WARPS = 8, THREADS = WARPS * 32;
constexpr int64_t VECTOR_BYTES = 64 << 10;

__device__ __forceinline__ uint4 load_streaming(const void *from) {
#ifdef DUO_EMULATION
  return *static_cast<const uint4 *>(from);
#else
  uint4 v;  // weights pass through once: keep them out of L1
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from));
  return v;
#endif
}

__device__ __forceinline__ uint32_t word_of(const uint4 &v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

template <int BATCH, int ROWS, bool INT8>
__global__ void __launch_bounds__(THREADS) vector_product_kernel(const VectorProduct p, int64_t piece_depth) {
  constexpr int STEP = INT8 ? 16 : 8;  // elements of 16 bytes
  float *scratch = reinterpret_cast<float *>(shared_memory());
  bf16 *vectors = reinterpret_cast<bf16 *>(scratch + 32);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const bool is_pair = p.store == VectorStore::swiglu;
  constexpr int HALF = ROWS / 2;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * WARPS + warp) * (is_pair ? HALF : ROWS);

  float norm_scale[BATCH];
  for (int b = 0; b < BATCH; b++) norm_scale[b] = 0.0f;
  if (p.hidden != nullptr) {
    for (int b = 0; b < p.batch; b++) {
      float square = 0.0f;
      for (int64_t i = threadIdx.x; i < p.depth; i += THREADS) square += p.hidden[b * p.depth + i] * p.hidden[b * p.depth + i];
      const float scale = 1.0f / sqrtf(sum_block(square, scratch) / static_cast<float>(p.depth) + p.eps);
      // The loop's bound is known only at run time; the array's index must not be.
#pragma unroll
      for (int at = 0; at < BATCH; at++) {
        if (at == b) norm_scale[at] = scale;
      }
    }
  }

  int64_t row[ROWS];
  bool is_live[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const int64_t output = first + (is_pair ? r % HALF : r);
    is_live[r] = output < p.outputs;
    row[r] = (is_live[r] ? output : 0) + (is_pair && r >= HALF ? p.outputs : 0);
  }
  float sum[ROWS][BATCH];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
#pragma unroll
    for (int b = 0; b < BATCH; b++) sum[r][b] = 0.0f;
  }
  const int element_bytes = INT8 ? 1 : 2;
  const auto *weight = static_cast<const uint8_t *>(p.weight);
  for (int64_t begin = 0; begin < p.depth; begin += piece_depth) {
    const int64_t here = p.depth - begin < piece_depth ? p.depth - begin : piece_depth;
    if (begin > 0) __syncthreads();  // nobody reads the last piece any more
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      if (b >= p.batch) continue;
      for (int64_t i = threadIdx.x; i < here; i += THREADS) {
        const int64_t at = b * p.depth + begin + i;
        vectors[b * piece_depth + i] = p.hidden != nullptr ? narrow(p.hidden[at] * norm_scale[b] * p.norm[begin + i]) : p.x[at];
      }
    }
    __syncthreads();
#pragma unroll 2
    for (int64_t i = lane * STEP; i < here; i += 32 * STEP) {
      uint4 words[ROWS];
#pragma unroll
      for (int r = 0; r < ROWS; r++) words[r] = load_streaming(weight + (row[r] * p.depth + begin + i) * element_bytes);
#pragma unroll
      for (int b = 0; b < BATCH; b++) {
        if (b >= p.batch) continue;
        const bf16 *x = vectors + b * piece_depth + i;
        if constexpr (INT8) {
#pragma unroll
          for (int w = 0; w < 4; w++) {
            const uint2 pairs = *reinterpret_cast<const uint2 *>(x + 4 * w);
            const float value[4] = {widen_low(pairs.x), widen_high(pairs.x), widen_low(pairs.y), widen_high(pairs.y)};
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
#pragma unroll
              for (int e = 0; e < 4; e++) {
                sum[r][b] += static_cast<float>(static_cast<int8_t>(word_of(words[r], w) >> (8 * e) & 0xffu)) * value[e];
              }
            }
          }
        } else {
          const uint4 pairs = *reinterpret_cast<const uint4 *>(x);
#pragma unroll
          for (int w = 0; w < 4; w++) {
            const float low = widen_low(word_of(pairs, w)), high = widen_high(word_of(pairs, w));
#pragma unroll
            for (int r = 0; r < ROWS; r++) sum[r][b] += widen_low(word_of(words[r], w)) * low + widen_high(word_of(words[r], w)) * high;
          }
        }
      }
    }
  }
#pragma unroll
  for (int b = 0; b < BATCH; b++) {
    if (b >= p.batch) continue;
    float total[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      total[r] = sum_warp(sum[r][b]);
      if (INT8) total[r] *= p.row_scale[row[r]];
      if (p.bias != nullptr) total[r] += p.bias[row[r]];
    }
    if (lane != 0) continue;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      if (!is_live[r]) continue;
      const int64_t at = b * p.outputs + first + (is_pair ? r % HALF : r);
      if (p.store == VectorStore::swiglu) {
        if (r < HALF) static_cast<bf16 *>(p.out)[at] = narrow(total[r] / (1.0f + expf(-total[r])) * total[r + HALF]);
      } else if (p.store == VectorStore::bf16) {
        static_cast<bf16 *>(p.out)[at] = narrow(total[r]);
      } else if (p.store == VectorStore::f32) {
        static_cast<float *>(p.out)[at] = total[r];
      } else {
        static_cast<float *>(p.out)[at] += total[r];
      }
    }
  }
}

template <int BATCH, int ROWS>
cudaError_t launch_rows(const VectorProduct &p, cudaStream_t stream) {
  int64_t piece = VECTOR_BYTES / (BATCH * static_cast<int64_t>(sizeof(bf16)));
  piece = p.depth < piece ? p.depth : piece;
  const int64_t outputs_a_block = WARPS * (p.store == VectorStore::swiglu ? ROWS / 2 : ROWS);
  const Grid grid{dim3(static_cast<unsigned>(ceil_divide(p.outputs, outputs_a_block))), THREADS,
                  32 * sizeof(float) + static_cast<size_t>(BATCH * piece) * sizeof(bf16)};
  return p.row_scale != nullptr ? launch(grid, stream, vector_product_kernel<BATCH, ROWS, true>, p, piece)
                                : launch(grid, stream, vector_product_kernel<BATCH, ROWS, false>, p, piece);
}

template <int BATCH>
cudaError_t launch_batch(const VectorProduct &p, cudaStream_t stream) {
  // Few rows: less work a warp, so that every multiprocessor has some.
  return p.outputs <= 8192 ? launch_rows<BATCH, 2>(p, stream) : launch_rows<BATCH, 4>(p, stream);
}

}  // namespace

cudaError_t launch_vector_product(const VectorProduct &p, cudaStream_t stream) {
  if (p.batch < 1 || p.batch > 8 || p.depth % (p.row_scale != nullptr ? 16 : 8) != 0) return cudaErrorInvalidValue;
  return p.batch == 1 ? launch_batch<1>(p, stream) : p.batch == 2 ? launch_batch<2>(p, stream) : p.batch <= 4 ? launch_batch<4>(p, stream) : launch_batch<8>(p, stream);
}

}  // namespace duo::cuda
