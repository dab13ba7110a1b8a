// Gradient of mixed = α·full + (1−α)·streaming attention. Both branches share the products: with P the recomputed
// weights of each branch,
//   dV = (α·P_full + (1−α)·P_stream)ᵀ·d,   dS = α·P_full∘(d·Vᵀ − ⟨d, full⟩) + (1−α)·P_stream∘(d·Vᵀ − ⟨d, stream⟩),   dQ = dS·K,   dK = dSᵀ·Q.
// Two kernels instead of one with atomics, so that sums have a fixed order: one owns query rows (dQ), one owns keys
// (dK, dV, over all query heads of the group). Scores are computed in both. Source: arXiv 2307.08691, section 3; the
// branches' sharing is ours.
#include "cuda/attention.h"
#include "cuda/branch_factors.h"
#include "cuda/hopper.h"
#include "cuda/tile.h"

namespace duo::cuda {
namespace {

constexpr int TILE = 64;  // rows a block owns, and keys or queries of a step of the query kernel
constexpr int WARPS = 4, THREADS = WARPS * 32;

// Weight of a pair in the mix, and its factor in front of the score's gradient: α·P_full·(dp − Δ_full) +
// (1−α)·P_stream·(dp − Δ_stream).
struct PairGradient {
  float weight, score;
};
__device__ __forceinline__ PairGradient pair_gradient(float score, float dp, bool in_full, bool in_stream,
                                                      Factors factors, float full_lse, float stream_lse,
                                                      float full_delta, float stream_delta) {
  const float full = in_full && factors.full != 0.0f ? factors.full * exp2_of(score - full_lse) : 0.0f;
  const float stream = in_stream && factors.stream != 0.0f ? factors.stream * exp2_of(score - stream_lse) : 0.0f;
  return {full + stream, full * (dp - full_delta) + stream * (dp - stream_delta)};
}

// Block: 64 query rows of one head, 16 a warp. Shared: queries, d [64, D]; keys, values [2][64, D].
template <int D>
__global__ void __launch_bounds__(THREADS) query_gradient_kernel(const AttentionBackward a) {
  bf16 *queries = reinterpret_cast<bf16 *>(shared_memory()), *gradients = queries + TILE * D;
  bf16 *keys = gradients + TILE * D, *values = keys + 2 * TILE * D;
  const int head = blockIdx.y, kv_head = head / a.shape.group();
  const Factors factors = branch_factors(a, kv_head);
  const int64_t first_row = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * TILE;
  const int rows_here = static_cast<int>(a.num_rows - first_row < TILE ? a.num_rows - first_row : TILE);
  const int64_t sink = a.shape.sink, recent = a.shape.recent[kv_head], low = a.positions[first_row],
                high = a.positions[first_row + rows_here - 1];
  const int lane = threadIdx.x % 32, warp_row = static_cast<int>(threadIdx.x) / 32 * 16;

  const int64_t num_tiles = high / TILE + 1;
  int64_t num_sink = ceil_divide(sink, TILE);
  num_sink = num_sink < num_tiles ? num_sink : num_tiles;
  int64_t window_tile = low - recent + 1 > 0 ? (low - recent + 1) / TILE : 0;
  window_tile = window_tile > num_sink ? window_tile : num_sink;
  const bool has_full = factors.full != 0.0f;
  const int64_t steps = has_full ? num_tiles : num_sink + num_tiles - window_tile;
  const auto tile_of = [&](int64_t step) { return has_full || step < num_sink ? step : window_tile + step - num_sink; };

  int64_t position[2];
  float full_lse[2], stream_lse[2], full_delta[2], stream_delta[2];
  for (int half = 0; half < 2; half++) {
    const int row = warp_row + half * 8 + lane / 4;
    const int64_t at = static_cast<int64_t>(head) * a.num_rows + first_row + (row < rows_here ? row : 0);
    position[half] = row < rows_here ? a.positions[first_row + row] : -1;  // sees nothing
    full_lse[half] = a.full_lse[at], stream_lse[half] = a.stream_lse[at];
    full_delta[half] = a.full_delta[at], stream_delta[half] = a.stream_delta[at];
  }

  const int64_t query_stride = static_cast<int64_t>(a.shape.heads) * D,
                key_stride = static_cast<int64_t>(a.shape.kv_heads) * D;
  const int64_t query_at = first_row * query_stride + static_cast<int64_t>(head) * D;
  const auto load_step = [&](int64_t step, int buffer) {
    const int64_t first = tile_of(step) * TILE, at = first * key_stride + static_cast<int64_t>(kv_head) * D;
    const int valid = static_cast<int>(a.num_keys - first < TILE ? a.num_keys - first : TILE);
    copy_tile<D, THREADS>(keys + buffer, a.key + at, key_stride, TILE, valid);
    copy_tile<D, THREADS>(values + buffer, a.value + at, key_stride, TILE, valid);
  };
  copy_tile<D, THREADS>(queries, a.query + query_at, query_stride, TILE, rows_here);
  copy_tile<D, THREADS>(gradients, a.d_mixed + query_at, query_stride, TILE, rows_here);
  load_step(0, 0);
  cp_async_commit_group();

  float sum[D / 8][4];
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    for (int i = 0; i < 4; i++) sum[n][i] = 0.0f;
  }
  const float scale = 1.0f / sqrtf(static_cast<float>(D));
  for (int64_t step = 0; step < steps; step++) {
    const int buffer = static_cast<int>(step % 2) * TILE * D;
    if (step + 1 < steps) load_step(step + 1, TILE * D - buffer);
    cp_async_commit_group();
    cp_async_wait_group<1>();
    __syncthreads();  // this step's tile is whole

    const int64_t first_key = tile_of(step) * TILE;
    float scores[TILE / 8][4], products[TILE / 8][4];
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
      for (int i = 0; i < 4; i++) scores[n][i] = 0.0f, products[n][i] = 0.0f;
    }
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      uint32_t query[4], gradient[4];
      load_left<D>(query, queries, warp_row, k * 16);
      load_left<D>(gradient, gradients, warp_row, k * 16);
#pragma unroll
      for (int n = 0; n < TILE / 16; n++) {
        uint32_t right[4];
        load_right<D>(right, keys + buffer, n * 16, k * 16);
        mma_m16n8k16(scores[2 * n], query, right[0], right[1]);
        mma_m16n8k16(scores[2 * n + 1], query, right[2], right[3]);
        load_right<D>(right, values + buffer, n * 16, k * 16);
        mma_m16n8k16(products[2 * n], gradient, right[0], right[1]);
        mma_m16n8k16(products[2 * n + 1], gradient, right[2], right[3]);
      }
    }
    uint32_t slopes[TILE / 8][2];
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float slope[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int64_t key = first_key + n * 8 + lane % 4 * 2 + i;
          const bool in_full = key <= position[half],
                     in_stream = in_full && (key < sink || position[half] - key < recent);
          slope[i] = scale * pair_gradient(scores[n][half * 2 + i] * scale * LOG2_E, products[n][half * 2 + i], in_full,
                                           in_stream, factors, full_lse[half], stream_lse[half], full_delta[half],
                                           stream_delta[half])
                                 .score;
        }
        slopes[n][half] = pack_bf16(slope[0], slope[1]);
      }
    }
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
      const uint32_t left[4] = {slopes[2 * k][0], slopes[2 * k][1], slopes[2 * k + 1][0], slopes[2 * k + 1][1]};
#pragma unroll
      for (int n = 0; n < D / 16; n++) {
        uint32_t right[4];
        load_right_transposed<D>(right, keys + buffer, k * 16, n * 16);
        mma_m16n8k16(sum[2 * n], left, right[0], right[1]);
        mma_m16n8k16(sum[2 * n + 1], left, right[2], right[3]);
      }
    }
    __syncthreads();  // every warp is done with this buffer before it is filled again
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = warp_row + half * 8 + lane / 4;
    if (row >= rows_here) continue;
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
      const int64_t at = query_at + row * query_stride + n * 8 + lane % 4 * 2;
      *reinterpret_cast<float2 *>(a.d_query + at) = make_float2(sum[n][half * 2], sum[n][half * 2 + 1]);
    }
  }
}

// Block: 64 keys of one KV head, 16 a warp; steps of QUERIES query rows, head after head of the group.
// Shared: keys, values [64, D]; queries, d [2][QUERIES, D]; per query: position, 2 lse, 2 deltas.
template <int D, int QUERIES>
__global__ void __launch_bounds__(THREADS) key_gradient_kernel(const AttentionBackward a) {
  bf16 *keys = reinterpret_cast<bf16 *>(shared_memory()), *values = keys + TILE * D;
  bf16 *queries = values + TILE * D, *gradients = queries + 2 * QUERIES * D;
  float *full_lse = reinterpret_cast<float *>(gradients + 2 * QUERIES * D);
  float *stream_lse = full_lse + QUERIES, *full_delta = stream_lse + QUERIES, *stream_delta = full_delta + QUERIES;
  int32_t *positions = reinterpret_cast<int32_t *>(stream_delta + QUERIES);
  const int kv_head = blockIdx.y, group = a.shape.group();
  const Factors factors = branch_factors(a, kv_head);
  const int64_t first_key = static_cast<int64_t>(blockIdx.x) * TILE, sink = a.shape.sink,
                recent = a.shape.recent[kv_head];
  const int keys_here = static_cast<int>(a.num_keys - first_key < TILE ? a.num_keys - first_key : TILE);
  const int lane = threadIdx.x % 32, warp_row = static_cast<int>(threadIdx.x) / 32 * 16;

  // Rows that see a key of this tile: from the diagonal on; without the full branch, of a tile without sinks, to the
  // window's end.
  const int64_t begin = first_at_least(a.positions, a.num_rows, first_key) / QUERIES;
  const bool sees_all = factors.full != 0.0f || first_key < sink;
  const int64_t end_row =
      sees_all ? a.num_rows : first_at_least(a.positions, a.num_rows, first_key + keys_here - 1 + recent);
  const int64_t end = ceil_divide(end_row, QUERIES), steps_a_head = end > begin ? end - begin : 0,
                steps = steps_a_head * group;

  const int64_t query_stride = static_cast<int64_t>(a.shape.heads) * D,
                key_stride = static_cast<int64_t>(a.shape.kv_heads) * D;
  const int64_t key_at = first_key * key_stride + static_cast<int64_t>(kv_head) * D;
  const auto load_step = [&](int64_t step, int buffer) {
    const int64_t first = (begin + step % steps_a_head) * QUERIES, head = kv_head * group + step / steps_a_head;
    const int valid = static_cast<int>(a.num_rows - first < QUERIES ? a.num_rows - first : QUERIES);
    const int64_t at = first * query_stride + head * D;
    copy_tile<D, THREADS>(queries + buffer, a.query + at, query_stride, QUERIES, valid);
    copy_tile<D, THREADS>(gradients + buffer, a.d_mixed + at, query_stride, QUERIES, valid);
  };
  copy_tile<D, THREADS>(keys, a.key + key_at, key_stride, TILE, keys_here);
  copy_tile<D, THREADS>(values, a.value + key_at, key_stride, TILE, keys_here);
  if (steps > 0) load_step(0, 0);
  cp_async_commit_group();

  float key_sum[D / 8][4], value_sum[D / 8][4];
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    for (int i = 0; i < 4; i++) key_sum[n][i] = 0.0f, value_sum[n][i] = 0.0f;
  }
  const float scale = 1.0f / sqrtf(static_cast<float>(D));
  for (int64_t step = 0; step < steps; step++) {
    const int buffer = static_cast<int>(step % 2) * QUERIES * D;
    if (step + 1 < steps) load_step(step + 1, QUERIES * D - buffer);
    cp_async_commit_group();
    const int64_t first_row = (begin + step % steps_a_head) * QUERIES, head = kv_head * group + step / steps_a_head;
    for (int i = static_cast<int>(threadIdx.x); i < QUERIES; i += THREADS) {
      const bool is_valid = first_row + i < a.num_rows;
      const int64_t at = head * a.num_rows + (is_valid ? first_row + i : 0);
      positions[i] = is_valid ? a.positions[first_row + i] : -1;  // sees nothing
      full_lse[i] = a.full_lse[at], stream_lse[i] = a.stream_lse[at];
      full_delta[i] = a.full_delta[at], stream_delta[i] = a.stream_delta[at];
    }
    cp_async_wait_group<1>();
    __syncthreads();  // tile and row numbers are whole

    float scores[QUERIES / 8][4], products[QUERIES / 8][4];  // rows are keys, columns queries
#pragma unroll
    for (int n = 0; n < QUERIES / 8; n++) {
      for (int i = 0; i < 4; i++) scores[n][i] = 0.0f, products[n][i] = 0.0f;
    }
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      uint32_t key[4], value[4];
      load_left<D>(key, keys, warp_row, k * 16);
      load_left<D>(value, values, warp_row, k * 16);
#pragma unroll
      for (int n = 0; n < QUERIES / 16; n++) {
        uint32_t right[4];
        load_right<D>(right, queries + buffer, n * 16, k * 16);
        mma_m16n8k16(scores[2 * n], key, right[0], right[1]);
        mma_m16n8k16(scores[2 * n + 1], key, right[2], right[3]);
        load_right<D>(right, gradients + buffer, n * 16, k * 16);
        mma_m16n8k16(products[2 * n], value, right[0], right[1]);
        mma_m16n8k16(products[2 * n + 1], value, right[2], right[3]);
      }
    }
    uint32_t weights[QUERIES / 8][2], slopes[QUERIES / 8][2];
#pragma unroll
    for (int n = 0; n < QUERIES / 8; n++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int64_t key = first_key + warp_row + half * 8 + lane / 4;
        PairGradient pair[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int query = n * 8 + lane % 4 * 2 + i;
          const int64_t position = positions[query];
          const bool in_full = key <= position, in_stream = in_full && (key < sink || position - key < recent);
          pair[i] =
              pair_gradient(scores[n][half * 2 + i] * scale * LOG2_E, products[n][half * 2 + i], in_full, in_stream,
                            factors, full_lse[query], stream_lse[query], full_delta[query], stream_delta[query]);
        }
        weights[n][half] = pack_bf16(pair[0].weight, pair[1].weight);
        slopes[n][half] = pack_bf16(scale * pair[0].score, scale * pair[1].score);
      }
    }
#pragma unroll
    for (int k = 0; k < QUERIES / 16; k++) {
      const uint32_t weight[4] = {weights[2 * k][0], weights[2 * k][1], weights[2 * k + 1][0], weights[2 * k + 1][1]};
      const uint32_t slope[4] = {slopes[2 * k][0], slopes[2 * k][1], slopes[2 * k + 1][0], slopes[2 * k + 1][1]};
#pragma unroll
      for (int n = 0; n < D / 16; n++) {
        uint32_t right[4];
        load_right_transposed<D>(right, gradients + buffer, k * 16, n * 16);
        mma_m16n8k16(value_sum[2 * n], weight, right[0], right[1]);
        mma_m16n8k16(value_sum[2 * n + 1], weight, right[2], right[3]);
        load_right_transposed<D>(right, queries + buffer, k * 16, n * 16);
        mma_m16n8k16(key_sum[2 * n], slope, right[0], right[1]);
        mma_m16n8k16(key_sum[2 * n + 1], slope, right[2], right[3]);
      }
    }
    __syncthreads();  // every warp is done with this buffer and the row numbers
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = warp_row + half * 8 + lane / 4;
    if (row >= keys_here) continue;
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
      const int64_t at = key_at + row * key_stride + n * 8 + lane % 4 * 2;
      *reinterpret_cast<float2 *>(a.d_key + at) = make_float2(key_sum[n][half * 2], key_sum[n][half * 2 + 1]);
      *reinterpret_cast<float2 *>(a.d_value + at) = make_float2(value_sum[n][half * 2], value_sum[n][half * 2 + 1]);
    }
  }
}

template <int D, int QUERIES>
cudaError_t launch_backward(const AttentionBackward &a, cudaStream_t stream) {
  const Grid rows{dim3(static_cast<unsigned>(ceil_divide(a.num_rows, TILE)), static_cast<unsigned>(a.shape.heads)),
                  THREADS, static_cast<size_t>(6 * TILE) * D * sizeof(bf16)};
  const cudaError_t error = launch(rows, stream, query_gradient_kernel<D>, a);
  if (error != cudaSuccess) return error;
  const Grid keys{dim3(static_cast<unsigned>(ceil_divide(a.num_keys, TILE)), static_cast<unsigned>(a.shape.kv_heads)),
                  THREADS,
                  static_cast<size_t>(2 * TILE + 4 * QUERIES) * D * sizeof(bf16) + 5 * QUERIES * sizeof(float)};
  return launch(keys, stream, key_gradient_kernel<D, QUERIES>, a);
}

}  // namespace

cudaError_t launch_attention_backward(const AttentionBackward &a, cudaStream_t stream) {
  const bool fits = a.shape.head_dim == 64 || a.shape.head_dim == 128;
  return fits && has_hopper() ? launch_attention_backward_hopper(a, stream)
                              : launch_attention_backward_plain(a, stream);
}

cudaError_t launch_attention_backward_plain(const AttentionBackward &a, cudaStream_t stream) {
  switch (a.shape.head_dim) {
    case 32: return launch_backward<32, 64>(a, stream);
    case 64: return launch_backward<64, 64>(a, stream);
    case 128:
      return launch_backward<128, 32>(a, stream);  // fewer queries a step: two [16, 128] sums a warp fill the registers
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace duo::cuda
