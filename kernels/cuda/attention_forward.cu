// Full and streaming attention in one pass over the scores: each branch has its own running maximum, sum and output
// (online softmax), the streaming one only on tiles that hold a sink or a recent key. Tiles that no wanted branch sees
// are neither read nor computed. Block: WARPS warps, 16·ROW_TILES query rows each, of one head; key tiles of 64 in two
// buffers, the next copied while one is used. Shared memory: queries [16·ROW_TILES·WARPS, D], keys [2][64, D], values
// [2][64, D], bf16, permuted by tile_offset.
#include "cuda/attention_keys.h"
#include "cuda/hadamard.h"
#include "cuda/hopper.h"
#include "cuda/tile.h"

namespace duo::cuda {
namespace {

constexpr int KEYS = 64;  // keys of a tile
constexpr int WARPS = 4, THREADS = WARPS * 32;

// One branch's running softmax over 16·ROW_TILES rows of a warp. Scores are in units of log2.
template <int D, int ROW_TILES, Half HALF>
struct OnlineSoftmax {
  float out[ROW_TILES][D / 8][4];
  float largest[ROW_TILES][2], sum[ROW_TILES][2];

  __device__ __forceinline__ void reset() {
    for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        for (int i = 0; i < 4; i++) out[m][n][i] = 0.0f;
      }
      for (int half = 0; half < 2; half++) largest[m][half] = minus_infinity(), sum[m][half] = 0.0f;
    }
  }

  // Take in one tile: scores[m][n][i] of key 8n + c…; visible(m, half, key) masks where `is_masked`.
  template <typename Visible>
  __device__ __forceinline__ void absorb(const float (&scores)[ROW_TILES][KEYS / 8][4], const bf16 *values,
                                         bool is_masked, const Visible &visible) {
    const int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) {
      uint32_t weights[KEYS / 8][2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float row[KEYS / 8][2], top = largest[m][half];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            row[n][i] =
                is_masked && !visible(m, half, n * 8 + column + i) ? minus_infinity() : scores[m][n][half * 2 + i];
            top = fmaxf(top, row[n][i]);
          }
        }
        top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
        top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
        const float base = top == minus_infinity() ? 0.0f : top;  // a row that has seen no key yet
        const float shrink = exp2_of(largest[m][half] - base);
        largest[m][half] = top;
        float total = 0.0f;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
          const float first = exp2_of(row[n][0] - base), second = exp2_of(row[n][1] - base);
          total += first + second;
          weights[n][half] = pack_as<HALF>(first, second);
        }
        sum[m][half] = sum[m][half] * shrink + total;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
          out[m][n][half * 2] *= shrink;
          out[m][n][half * 2 + 1] *= shrink;
        }
      }
#pragma unroll
      for (int k = 0; k < KEYS / 16; k++) {
        const uint32_t left[4] = {weights[2 * k][0], weights[2 * k][1], weights[2 * k + 1][0], weights[2 * k + 1][1]};
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
          uint32_t right[4];
          load_right_transposed<D>(right, values, k * 16, n * 16);
          mma_m16n8k16<HALF>(out[m][2 * n], left, right[0], right[1]);
          mma_m16n8k16<HALF>(out[m][2 * n + 1], left, right[2], right[3]);
        }
      }
    }
  }

  // Lanes hold parts of a row's sum; afterwards all four of a row have the whole.
  __device__ __forceinline__ void finish() {
    for (int m = 0; m < ROW_TILES; m++) {
      for (int half = 0; half < 2; half++) {
        float total = sum[m][half];
        total += __shfl_xor_sync(ALL_LANES, total, 1);
        total += __shfl_xor_sync(ALL_LANES, total, 2);
        sum[m][half] = total;
      }
    }
  }
};

// Copy keys or values at positions first … first+63 of a head to a tile; positions past the chunk become zero.
template <int D>
__device__ __forceinline__ void load_keys(bf16 *tile, const AttentionForward &a, int kv_head, int64_t first,
                                          bool is_value) {
  for (int i = static_cast<int>(threadIdx.x); i < KEYS * (D / 8); i += THREADS) {
    const int row = i / (D / 8), piece = i % (D / 8);
    copy_key_piece<D>(tile + tile_offset<D>(row, piece), a, kv_head, first + row, piece, is_value);
  }
}

template <int D, int ROW_TILES, bool FULL, bool STREAM, Half HALF>
__global__ void __launch_bounds__(THREADS) attention_forward_kernel(const AttentionForward a) {
  constexpr int ROWS = 16 * ROW_TILES * WARPS;
  bf16 *queries = reinterpret_cast<bf16 *>(shared_memory());
  bf16 *keys = queries + ROWS * D, *values = keys + 2 * KEYS * D;
  const int group = a.shape.group(), kv_head = a.kv_list[blockIdx.y / group],
            head = kv_head * group + static_cast<int>(blockIdx.y) % group;
  // Longest rows first: the grid's tail is short work.
  const int64_t first_row = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * ROWS;
  const int rows_here = static_cast<int>(a.num_rows - first_row < ROWS ? a.num_rows - first_row : ROWS);
  const int64_t sink = a.shape.sink, recent = STREAM ? a.shape.recent[kv_head] : 1;
  const int lane = threadIdx.x % 32, warp_row = static_cast<int>(threadIdx.x) / 32 * 16 * ROW_TILES;

  const int64_t low = a.positions[first_row], high = a.positions[first_row + rows_here - 1];
  const auto window_start = [&](int64_t position) {
    return a.is_chunked ? a.chunk_start - recent : position - recent + 1;
  };
  // Tiles of the streaming branch: those with a sink key, then those from the lowest row's window on.
  const int64_t num_tiles = high / KEYS + 1;
  int64_t num_sink = ceil_divide(sink, KEYS);
  num_sink = num_sink < num_tiles ? num_sink : num_tiles;
  const int64_t start = window_start(low);
  int64_t window_tile = start > 0 ? start / KEYS : 0;
  window_tile = window_tile > num_sink ? window_tile : num_sink;
  const int64_t steps = FULL ? num_tiles : num_sink + num_tiles - window_tile;
  const auto tile_of = [&](int64_t step) { return FULL || step < num_sink ? step : window_tile + step - num_sink; };

  int64_t position[ROW_TILES][2];
  for (int m = 0; m < ROW_TILES; m++) {
    for (int half = 0; half < 2; half++) {
      const int row = warp_row + m * 16 + half * 8 + lane / 4;
      position[m][half] = row < rows_here ? a.positions[first_row + row] : high;
    }
  }

  const int64_t query_stride = static_cast<int64_t>(a.shape.heads) * D;
  copy_tile<D, THREADS>(queries, a.query + first_row * query_stride + static_cast<int64_t>(head) * D, query_stride,
                        ROWS, rows_here);
  load_keys<D>(keys, a, kv_head, tile_of(0) * KEYS, false);
  load_keys<D>(values, a, kv_head, tile_of(0) * KEYS, true);
  cp_async_commit_group();

  OnlineSoftmax<D, FULL ? ROW_TILES : 1, HALF> full;
  OnlineSoftmax<D, STREAM ? ROW_TILES : 1, HALF> stream;
  if constexpr (FULL) full.reset();
  if constexpr (STREAM) stream.reset();
  const float scale = LOG2_E / sqrtf(static_cast<float>(D));

  for (int64_t step = 0; step < steps; step++) {
    const int buffer = static_cast<int>(step % 2) * KEYS * D;
    if (step + 1 < steps) {
      const int next = KEYS * D - buffer;
      load_keys<D>(keys + next, a, kv_head, tile_of(step + 1) * KEYS, false);
      load_keys<D>(values + next, a, kv_head, tile_of(step + 1) * KEYS, true);
    }
    cp_async_commit_group();
    cp_async_wait_group<1>();
    __syncthreads();  // this step's tile is whole

    const int64_t first_key = tile_of(step) * KEYS;
    float scores[ROW_TILES][KEYS / 8][4];
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++) {
        for (int i = 0; i < 4; i++) scores[m][n][i] = 0.0f;
      }
    }
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      uint32_t left[ROW_TILES][4];
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) load_left<D>(left[m], queries, warp_row + m * 16, k * 16);
#pragma unroll
      for (int n = 0; n < KEYS / 16; n++) {
        uint32_t right[4];
        load_right<D>(right, keys + buffer, n * 16, k * 16);
#pragma unroll
        for (int m = 0; m < ROW_TILES; m++) {
          mma_m16n8k16<HALF>(scores[m][2 * n], left[m], right[0], right[1]);
          mma_m16n8k16<HALF>(scores[m][2 * n + 1], left[m], right[2], right[3]);
        }
      }
    }
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++) {
        for (int i = 0; i < 4; i++) scores[m][n][i] *= scale;
      }
    }

    const bool passes_diagonal = first_key + KEYS - 1 > low;
    if constexpr (FULL) {
      full.absorb(scores, values + buffer, passes_diagonal,
                  [&](int m, int half, int key) { return first_key + key <= position[m][half]; });
    }
    if constexpr (STREAM) {
      // The same for all threads, so warps do not diverge around the products.
      const bool is_seen = first_key < sink || first_key + KEYS - 1 >= start;
      const bool is_inside = !passes_diagonal && (first_key + KEYS - 1 < sink || first_key >= window_start(high));
      if (is_seen) {
        stream.absorb(scores, values + buffer, !is_inside, [&](int m, int half, int key) {
          const int64_t at = first_key + key;
          return at <= position[m][half] && (at < sink || at >= window_start(position[m][half]));
        });
      }
    }
    __syncthreads();  // every warp is done with this buffer before it is filled again
  }

  if constexpr (FULL) full.finish();
  if constexpr (STREAM) stream.finish();
  if constexpr (FULL != STREAM && HALF == Half::bf16) {  // caches are attended by one branch at a time
    if (a.rotates) {
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          transform_row<D>([&](int n, int i) -> float & {
            return FULL ? full.out[m][n][half * 2 + i] : stream.out[m][n][half * 2 + i];
          });
        }
      }
    }
  }
  const float gate = FULL && STREAM ? a.gates[kv_head] : FULL ? 1.0f : 0.0f;
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = warp_row + m * 16 + half * 8 + lane / 4;
      if (row >= rows_here) continue;
      const int64_t out_row = (first_row + row) * query_stride + static_cast<int64_t>(head) * D,
                    lse_at = static_cast<int64_t>(head) * a.num_rows + first_row + row;
      float full_factor = 0.0f, stream_factor = 0.0f;
      if constexpr (FULL) {
        full_factor = 1.0f / full.sum[m][half];
        if (a.full_lse != nullptr && lane % 4 == 0)
          a.full_lse[lse_at] = full.largest[m][half] + log2f(full.sum[m][half]);
      }
      if constexpr (STREAM) {
        stream_factor = 1.0f / stream.sum[m][half];
        if (a.stream_lse != nullptr && lane % 4 == 0)
          a.stream_lse[lse_at] = stream.largest[m][half] + log2f(stream.sum[m][half]);
      }
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        const int64_t at = out_row + n * 8 + lane % 4 * 2;
        float2 own = make_float2(0.0f, 0.0f), other = make_float2(0.0f, 0.0f);
        if constexpr (FULL) {
          own = make_float2(full.out[m][n][half * 2] * full_factor, full.out[m][n][half * 2 + 1] * full_factor);
          if (a.full != nullptr) *reinterpret_cast<float2 *>(a.full + at) = own;
        }
        if constexpr (STREAM) {
          other =
              make_float2(stream.out[m][n][half * 2] * stream_factor, stream.out[m][n][half * 2 + 1] * stream_factor);
          if (a.stream != nullptr) *reinterpret_cast<float2 *>(a.stream + at) = other;
        }
        if (a.teacher_full != nullptr) own = *reinterpret_cast<const float2 *>(a.teacher_full + at);
        // The ends of the gate are exact, whatever the other branch holds.
        const float x = gate == 1.0f ? own.x : gate == 0.0f ? other.x : gate * own.x + (1.0f - gate) * other.x;
        const float y = gate == 1.0f ? own.y : gate == 0.0f ? other.y : gate * own.y + (1.0f - gate) * other.y;
        *reinterpret_cast<uint32_t *>(a.mixed + at) = pack_as<HALF>(x, y);
      }
    }
  }
}

template <int D, int ROW_TILES, bool FULL, bool STREAM, Half HALF>
cudaError_t launch_forward(const AttentionForward &a, cudaStream_t stream) {
  constexpr int ROWS = 16 * ROW_TILES * WARPS;
  const Grid grid{
      dim3(static_cast<unsigned>(ceil_divide(a.num_rows, ROWS)), static_cast<unsigned>(a.num_listed * a.shape.group())),
      THREADS, static_cast<size_t>(ROWS + 4 * KEYS) * D * sizeof(bf16)};
  return launch(grid, stream, attention_forward_kernel<D, ROW_TILES, FULL, STREAM, HALF>, a);
}

template <int D, Half HALF>
cudaError_t launch_branches(const AttentionForward &a, Branches branches, cudaStream_t stream) {
  switch (branches) {
    // Two row tiles a warp use each key fragment twice; both branches together leave registers for one.
    case Branches::full: return launch_forward<D, 2, true, false, HALF>(a, stream);
    case Branches::stream: return launch_forward<D, 2, false, true, HALF>(a, stream);
    default: return launch_forward<D, 1, true, true, HALF>(a, stream);
  }
}

}  // namespace

cudaError_t launch_attention_forward(const AttentionForward &a, Branches branches, cudaStream_t stream) {
  if (a.num_listed == 0 || a.num_rows == 0) return cudaSuccess;
  const bool fits = a.shape.head_dim == 64 || a.shape.head_dim == 128;
  return fits && has_hopper() ? launch_attention_forward_hopper(a, branches, stream)
                              : launch_attention_forward_plain(a, branches, stream);
}

cudaError_t launch_attention_forward_plain(const AttentionForward &a, Branches branches, cudaStream_t stream) {
  const bool f16 = a.dtype == Dtype::f16;
  switch (a.shape.head_dim) {
    case 32:
      return f16 ? launch_branches<32, Half::f16>(a, branches, stream)
                 : launch_branches<32, Half::bf16>(a, branches, stream);
    case 64:
      return f16 ? launch_branches<64, Half::f16>(a, branches, stream)
                 : launch_branches<64, Half::bf16>(a, branches, stream);
    case 128:
      return f16 ? launch_branches<128, Half::f16>(a, branches, stream)
                 : launch_branches<128, Half::bf16>(a, branches, stream);
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace duo::cuda
