// The weights stream through shared memory: every thread has a ring of its own there, which cp.async fills some stages ahead with 16 bytes of each
// of ROWS rows, and reads back only what it asked for itself; so the loop has no barrier, and reading begins before the vectors are known.
// Block: 8 warps in teams of `slices`. A team takes units of ROWS rows (swiglu: the two rows of ROWS / 2 outputs) in turn, its warps the depth's
// chunks (32 lanes × 16 bytes) in turn. Lane sums are joined in a warp, warps' sums by addition in their order, a group of rounds at a time.
// The depth is taken in even pieces that fit with all vectors.
// Shared memory: rings [stages, ROWS, threads] of 16 bytes; vectors [batch, piece] bf16; sums [ROUNDS, warps, ROWS, batch], 32 floats.
#include "cuda/matvec.h"

#include <algorithm>

#include "cuda/dependent_launch.h"
#include "cuda/warp_fragments.h"

namespace duo::cuda {
namespace {

constexpr int WARPS = 8, THREADS = WARPS * 32;
constexpr int ROUNDS = 16;  // units whose warp sums are kept before they are joined
constexpr int64_t RING_BYTES = 96 << 10;  // twice what memory's latency times its rate comes to a multiprocessor; the next kernel's ring fits beside it
constexpr int64_t LARGE_SHARED = 160 << 10;
// Elements of a piece: 8 vectors take 128 KB, or half of it where a block has less.
int64_t piece_elements_of(const DeviceSize &device) { return device.shared_bytes >= LARGE_SHARED ? 8192 : 4096; }

// How the product is cut; all in chunks, units and rounds.
struct Cut {
  int32_t slices, chunks, piece_chunks, pieces, stages;
  int64_t units, rounds;
};

__device__ __forceinline__ uint32_t word_of(const uint4 &v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// Byte i of `word`, which holds value + 128, as fp32: placed as the low byte of 2^23 it counts ones.
__device__ __forceinline__ float widen_biased(uint32_t word, int i) {
  return bits_float(permute_bytes(word, 0x4b000000u, 0x7440u | static_cast<uint32_t>(i))) - 8388736.0f;
}

// Sums of each of N values over the warp, in the order of sum_warp; the lane's own is value (lane / (32 / N)) of the result.
template <int N>
__device__ __forceinline__ float sum_each(float (&values)[N]) {
  static_assert(N <= 32 && (N & (N - 1)) == 0);
  const int lane = threadIdx.x % 32;
  int width = N;
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    if (width > 1) {
      width /= 2;
      const bool is_upper = (lane & lanes) != 0;
#pragma unroll
      for (int i = 0; i < N / 2; i++) {
        if (i >= width) continue;
        const float kept = is_upper ? values[i + width] : values[i], given = is_upper ? values[i] : values[i + width];
        values[i] = kept + __shfl_xor_sync(ALL_LANES, given, lanes);
      }
    } else {
      values[0] += __shfl_xor_sync(ALL_LANES, values[0], lanes);
    }
  }
  return values[0];
}

// A warp's way through its chunks: groups of rounds, in them pieces, in them rounds, in them chunks.
struct Walk {
  int64_t group, round;
  int32_t piece, chunk;

  __device__ __forceinline__ bool is_done(const Cut &cut) const { return group >= cut.rounds; }
  __device__ __forceinline__ void advance(const Cut &cut, int slice) {
    chunk += cut.slices;
    for (;;) {
      const int32_t end = (piece + 1) * cut.piece_chunks;
      if (chunk < (end < cut.chunks ? end : cut.chunks)) return;
      round++;
      if (round == cut.rounds || round == group + ROUNDS) {
        if (++piece == cut.pieces) {
          piece = 0;
          group += ROUNDS;
          if (is_done(cut)) return;
        }
        round = group;
      }
      chunk = piece * cut.piece_chunks + slice;
    }
  }
};

template <int BATCH, int ROWS, bool INT8>
__global__ void __launch_bounds__(THREADS) vector_product_kernel(const VectorProduct p, const Cut cut) {
  constexpr int STEP = INT8 ? 16 : 8, CHUNK = 32 * STEP, HALF = ROWS / 2, EACH = ROWS * BATCH;
  auto *ring = reinterpret_cast<uint4 *>(shared_memory()) + threadIdx.x;
  auto *vectors = reinterpret_cast<bf16 *>(shared_memory() + static_cast<size_t>(cut.stages) * ROWS * THREADS * 16);
  const int piece_elements = cut.piece_chunks * CHUNK;
  float *sums = reinterpret_cast<float *>(vectors + BATCH * piece_elements), *scratch = sums + ROUNDS * WARPS * EACH;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, slice = warp % cut.slices, teams = WARPS / cut.slices;
  const bool is_pair = p.store == VectorStore::swiglu;
  const int outputs_a_unit = is_pair ? HALF : ROWS;
  const auto unit_of = [&](int64_t round, int team) { return (round * gridDim.x + blockIdx.x) * teams + team; };
  const auto *weight = static_cast<const uint8_t *>(p.weight);
  let_next_start();

  Walk ahead{0, 0, 0, slice};
  const auto start_copy = [&](int stage) {
    if (!ahead.is_done(cut)) {
      const int64_t unit = unit_of(ahead.round, warp / cut.slices), element = static_cast<int64_t>(ahead.chunk) * CHUNK + lane * STEP;
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        const int64_t output = unit * outputs_a_unit + (is_pair ? r % HALF : r), row = output + (is_pair && r >= HALF ? p.outputs : 0);
        const bool is_live = output < p.outputs && element < p.depth;
        copy_async(ring + (stage * ROWS + r) * THREADS, weight + (is_live ? (row * p.depth + element) * (INT8 ? 1 : 2) : 0), is_live);
      }
      ahead.advance(cut, slice);
    }
    commit_copies();  // an empty group too, so that counting groups is counting chunks
  };
  for (int stage = 0; stage < cut.stages - 1; stage++) start_copy(stage);
  if (p.hidden != nullptr) {
    for (int64_t i = threadIdx.x * 32; i < p.depth; i += THREADS * 32) prefetch_line(p.norm + i);
  }
  wait_for_previous();

  float norm_scale[BATCH];
#pragma unroll
  for (int b = 0; b < BATCH; b++) {
    norm_scale[b] = 0.0f;
    if (p.hidden == nullptr || b >= p.batch) continue;
    float square = 0.0f;
#pragma unroll 4
    for (int64_t i = threadIdx.x * 4; i < p.depth; i += THREADS * 4) {
      const float4 h = *reinterpret_cast<const float4 *>(p.hidden + b * p.depth + i);
      square += h.x * h.x + h.y * h.y + h.z * h.z + h.w * h.w;
    }
    norm_scale[b] = 1.0f / sqrtf(sum_block(square, scratch) / static_cast<float>(p.depth) + p.eps);
  }

  int stage = 0;
  for (int64_t group = 0; group < cut.rounds; group += ROUNDS) {
    const int64_t group_end = group + ROUNDS < cut.rounds ? group + ROUNDS : cut.rounds;
    for (int piece = 0; piece < cut.pieces; piece++) {
      const int64_t begin = static_cast<int64_t>(piece) * piece_elements;
      if (cut.pieces > 1 || group == 0) {
        if (piece > 0 || group > 0) __syncthreads();  // nobody reads the last piece any more
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
          if (b >= p.batch) continue;
#pragma unroll 4
          for (int i = static_cast<int>(threadIdx.x) * 8; i < piece_elements; i += THREADS * 8) {
            uint4 eight = make_uint4(0, 0, 0, 0);
            if (begin + i < p.depth) {
              const int64_t at = b * p.depth + begin + i;
              if (p.hidden != nullptr) {
                const auto *h = reinterpret_cast<const float4 *>(p.hidden + at), *n = reinterpret_cast<const float4 *>(p.norm + begin + i);
                const float4 h0 = h[0], h1 = h[1], n0 = n[0], n1 = n[1];
                const float s = norm_scale[b];
                eight = make_uint4(pack_bf16(h0.x * s * n0.x, h0.y * s * n0.y), pack_bf16(h0.z * s * n0.z, h0.w * s * n0.w),
                                   pack_bf16(h1.x * s * n1.x, h1.y * s * n1.y), pack_bf16(h1.z * s * n1.z, h1.w * s * n1.w));
              } else {
                eight = *reinterpret_cast<const uint4 *>(p.x + at);
              }
            }
            *reinterpret_cast<uint4 *>(vectors + b * piece_elements + i) = eight;
          }
        }
        __syncthreads();
      }
      const int piece_end = (piece + 1) * cut.piece_chunks < cut.chunks ? (piece + 1) * cut.piece_chunks : cut.chunks;
      for (int64_t round = group; round < group_end; round++) {
        float sum[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++) sum[i] = 0.0f;
        for (int chunk = piece * cut.piece_chunks + slice; chunk < piece_end; chunk += cut.slices) {
          wait_copies_left(cut.stages - 2);
          start_copy(stage == 0 ? cut.stages - 1 : stage - 1);
          uint4 words[ROWS];
#pragma unroll
          for (int r = 0; r < ROWS; r++) words[r] = ring[(stage * ROWS + r) * THREADS];
          stage = stage + 1 == cut.stages ? 0 : stage + 1;
          if constexpr (INT8) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) words[r] = make_uint4(words[r].x ^ 0x80808080u, words[r].y ^ 0x80808080u, words[r].z ^ 0x80808080u, words[r].w ^ 0x80808080u);
          }
          const bf16 *x = vectors + (chunk - piece * cut.piece_chunks) * CHUNK + lane * STEP;
#pragma unroll
          for (int b = 0; b < BATCH; b++) {
            if (b >= p.batch) continue;
#pragma unroll
            for (int eight = 0; eight < STEP / 8; eight++) {
              const uint4 pairs = *reinterpret_cast<const uint4 *>(x + b * piece_elements + 8 * eight);
#pragma unroll
              for (int w = 0; w < 4; w++) {
                const float low = widen_low(word_of(pairs, w)), high = widen_high(word_of(pairs, w));
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                  float &to = sum[r * BATCH + b];
                  if constexpr (INT8) {
                    const uint32_t word = word_of(words[r], 2 * eight + w / 2);
                    to += widen_biased(word, w % 2 * 2) * low;
                    to += widen_biased(word, w % 2 * 2 + 1) * high;
                  } else {
                    to += widen_low(word_of(words[r], w)) * low;
                    to += widen_high(word_of(words[r], w)) * high;
                  }
                }
              }
            }
          }
        }
        const float total = sum_each(sum);
        if (lane % (32 / EACH) == 0) {
          float &kept = sums[((round - group) * WARPS + warp) * EACH + lane / (32 / EACH)];
          kept = piece == 0 ? total : kept + total;
        }
      }
    }
    __syncthreads();
    // Join the slices and store: a thread an output.
    const int count = static_cast<int>(group_end - group) * teams * outputs_a_unit * p.batch;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += THREADS) {
      const int r = i % outputs_a_unit, team = i / outputs_a_unit % teams, round = i / (outputs_a_unit * teams * p.batch), b = i / (outputs_a_unit * teams) % p.batch;
      const int64_t output = unit_of(group + round, team) * outputs_a_unit + r;
      if (output >= p.outputs) continue;
      const auto total = [&](int at, int64_t row) {
        float value = 0.0f;
        for (int s = 0; s < cut.slices; s++) value += sums[(round * WARPS + team * cut.slices + s) * EACH + at * BATCH + b];
        if (INT8) value *= p.row_scale[row];
        return p.bias != nullptr ? value + p.bias[row] : value;
      };
      const float value = total(r, output);
      const int64_t at = b * p.outputs + output;
      if (p.store == VectorStore::swiglu) {
        static_cast<bf16 *>(p.out)[at] = narrow(value / (1.0f + expf(-value)) * total(r + HALF, output + p.outputs));
      } else if (p.store == VectorStore::bf16) {
        static_cast<bf16 *>(p.out)[at] = narrow(value);
      } else if (p.store == VectorStore::f32) {
        static_cast<float *>(p.out)[at] = value;
      } else {
        static_cast<float *>(p.out)[at] += value;
      }
    }
    if (group_end < cut.rounds) __syncthreads();  // sums are free again
  }
}

template <int BATCH, int ROWS, bool INT8>
cudaError_t launch_rows(const VectorProduct &p, cudaStream_t stream) {
  constexpr int64_t CHUNK = 32 * (INT8 ? 16 : 8);
  constexpr int64_t STAGE_BYTES = ROWS * THREADS * 16;
  Cut cut{};
  cut.chunks = static_cast<int32_t>(ceil_divide(p.depth, CHUNK));
  cut.pieces = static_cast<int32_t>(ceil_divide(cut.chunks, piece_elements_of(p.device) / CHUNK));
  cut.piece_chunks = static_cast<int32_t>(ceil_divide(cut.chunks, cut.pieces));
  // As many warps along the depth as share it evenly, or nearly.
  cut.slices = WARPS;
  while (cut.slices > 1 && cut.piece_chunks % cut.slices != 0 && cut.piece_chunks < 4 * cut.slices) cut.slices /= 2;
  const int64_t others = BATCH * cut.piece_chunks * CHUNK * static_cast<int64_t>(sizeof(bf16)) + (ROUNDS * WARPS * ROWS * BATCH + 32) * static_cast<int64_t>(sizeof(float));
  const int64_t room = (p.device.shared_bytes - others) / STAGE_BYTES, wish = p.stages > 0 ? p.stages : RING_BYTES / STAGE_BYTES;
  cut.stages = static_cast<int32_t>(std::max<int64_t>(2, std::min<int64_t>({wish, room, MOST_STAGES})));
  cut.units = ceil_divide(p.outputs, p.store == VectorStore::swiglu ? ROWS / 2 : ROWS);
  const int64_t teams = WARPS / cut.slices, blocks = std::min(ceil_divide(cut.units, teams), p.blocks_a_multiprocessor * int64_t{p.device.multiprocessors});
  cut.rounds = ceil_divide(cut.units, blocks * teams);
  const auto shared = static_cast<size_t>(cut.stages * STAGE_BYTES + others);
  const Grid grid{dim3(static_cast<unsigned>(blocks)), THREADS, shared};
  return p.is_dependent ? launch_dependent(grid, stream, vector_product_kernel<BATCH, ROWS, INT8>, p, cut)
                        : launch(grid, stream, vector_product_kernel<BATCH, ROWS, INT8>, p, cut);
}

template <int BATCH, int ROWS>
cudaError_t launch_type(const VectorProduct &p, cudaStream_t stream) {
  return p.row_scale != nullptr ? launch_rows<BATCH, ROWS, true>(p, stream) : launch_rows<BATCH, ROWS, false>(p, stream);
}

}  // namespace

cudaError_t launch_vector_product(const VectorProduct &p, cudaStream_t stream) {
  if (p.batch < 1 || p.batch > 8 || p.blocks_a_multiprocessor < 1 || p.device.multiprocessors < 1 || p.depth % (p.row_scale != nullptr ? 16 : 8) != 0) return cudaErrorInvalidValue;
  return p.batch == 1 ? launch_type<1, 4>(p, stream) : p.batch == 2 ? launch_type<2, 4>(p, stream) : p.batch <= 4 ? launch_type<4, 4>(p, stream) : launch_type<8, 2>(p, stream);
}

}  // namespace duo::cuda
