// Gradient of mixed = α·full + (1−α)·streaming attention. Both branches share the products: with P the recomputed
// weights of each branch,
//   dV = (α·P_full + (1−α)·P_stream)ᵀ·d,   dS = α·P_full∘(d·Vᵀ − ⟨d, full⟩) + (1−α)·P_stream∘(d·Vᵀ − ⟨d, stream⟩),   dQ = dS·K,   dK = dSᵀ·Q.
// Two kernels instead of one with atomics, so that sums have a fixed order: one owns query rows (dQ), one owns keys
// (dK, dV, over all query heads of the group). Scores are computed in both. Source: arXiv 2307.08691, section 3; the
// branches' sharing is ours.
#include "cuda/attention_shapes.h"
#include "cuda/attention_tiles.h"
#include "cuda/branch_factors.h"
#include "cuda/hopper.h"
#include "cuda/instances.h"
#include "cuda/tile.h"

namespace duo::cuda {
namespace {

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

// Block: ROWS query rows of one head, 16 per warp. Shared: queries, d [ROWS, D]; keys, values [2][KEYS, D].
template <int D>
__global__ void __launch_bounds__(THREADS) query_gradient_kernel(const AttentionBackward a) {
  constexpr int ROWS = QueryGradientShape<D>::ROWS, KEYS = QueryGradientShape<D>::KEYS;
  bf16 *queries = reinterpret_cast<bf16 *>(shared_memory()), *gradients = queries + ROWS * D;
  bf16 *keys = gradients + ROWS * D, *values = keys + 2 * KEYS * D;
  const int head = blockIdx.y, kv_head = head / a.shape.group();
  const Factors factors = branch_factors(a, kv_head);
  const int64_t first_row = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * ROWS;
  const int rows_here = static_cast<int>(a.num_rows - first_row < ROWS ? a.num_rows - first_row : ROWS);
  const int lane = threadIdx.x % 32, warp_row = static_cast<int>(threadIdx.x) / 32 * 16;
  // With the full branch every tile once; without, those that the streaming branch sees.
  const bool has_full = factors.full != 0.0f;
  const TilePlan<KEYS> plan(Window(a.shape, kv_head), a.positions[first_row], a.positions[first_row + rows_here - 1],
                            false, 0, !has_full, has_full);

  int32_t position[2];
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
  const auto load_step = [&](int32_t step, int buffer) {
    const int64_t first = static_cast<int64_t>(plan.tile_of(step)) * KEYS,
                  at = first * key_stride + static_cast<int64_t>(kv_head) * D;
    const int valid = static_cast<int>(a.num_keys - first < KEYS ? a.num_keys - first : KEYS);
    copy_tile<D, THREADS>(keys + buffer, a.key + at, key_stride, KEYS, valid);
    copy_tile<D, THREADS>(values + buffer, a.value + at, key_stride, KEYS, valid);
  };
  copy_tile<D, THREADS>(queries, a.query + query_at, query_stride, ROWS, rows_here);
  copy_tile<D, THREADS>(gradients, a.d_mixed + query_at, query_stride, ROWS, rows_here);
  load_step(0, 0);
  cp_async_commit_group();

  float sum[D / 8][4];
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    for (int i = 0; i < 4; i++) sum[n][i] = 0.0f;
  }
  const float scale = 1.0f / sqrtf(static_cast<float>(D));
  for (int32_t step = 0; step < plan.steps(); step++) {
    const int buffer = step % 2 * KEYS * D;
    if (step + 1 < plan.steps()) load_step(step + 1, KEYS * D - buffer);
    cp_async_commit_group();
    cp_async_wait_group<1>();
    __syncthreads();  // this step's tile is whole

    const int32_t first_key = plan.tile_of(step) * KEYS;
    float scores[KEYS / 8][4], products[KEYS / 8][4];
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
      for (int i = 0; i < 4; i++) scores[n][i] = 0.0f, products[n][i] = 0.0f;
    }
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      uint32_t query[4], gradient[4];
      load_left<D>(query, queries, warp_row, k * 16);
      load_left<D>(gradient, gradients, warp_row, k * 16);
#pragma unroll
      for (int n = 0; n < KEYS / 16; n++) {
        uint32_t right[4];
        load_right<D>(right, keys + buffer, n * 16, k * 16);
        mma_m16n8k16(scores[2 * n], query, right[0], right[1]);
        mma_m16n8k16(scores[2 * n + 1], query, right[2], right[3]);
        load_right<D>(right, values + buffer, n * 16, k * 16);
        mma_m16n8k16(products[2 * n], gradient, right[0], right[1]);
        mma_m16n8k16(products[2 * n + 1], gradient, right[2], right[3]);
      }
    }
    uint32_t slopes[KEYS / 8][2];
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float slope[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int32_t key = first_key + n * 8 + lane % 4 * 2 + i;
          const bool in_full = plan.window.full(position[half]).sees(key),
                     in_stream = plan.window.seen(position[half]).sees(key);
          slope[i] = scale * pair_gradient(scores[n][half * 2 + i] * scale * LOG2_E, products[n][half * 2 + i], in_full,
                                           in_stream, factors, full_lse[half], stream_lse[half], full_delta[half],
                                           stream_delta[half])
                                 .score;
        }
        slopes[n][half] = pack_bf16(slope[0], slope[1]);
      }
    }
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
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

// Block: KEYS keys of one KV head, 16 per warp; steps of QUERIES query rows, head after head of the group; makes dK, dV or
// both. Shared: keys, and for dK values [KEYS, D]; queries, d [2][QUERIES, D]; per query: position, 2 lse, 2 deltas.
template <int D, bool MAKES_KEYS, bool MAKES_VALUES>
__global__ void __launch_bounds__(THREADS) key_gradient_kernel(const AttentionBackward a) {
  constexpr int KEYS = KeyGradientShape<D>::KEYS, QUERIES = KeyGradientShape<D>::QUERIES;
  bf16 *keys = reinterpret_cast<bf16 *>(shared_memory()), *values = keys + KEYS * D;
  bf16 *queries = values + KEYS * D, *gradients = queries + 2 * QUERIES * D;
  float *full_lse = reinterpret_cast<float *>(gradients + 2 * QUERIES * D);
  float *stream_lse = full_lse + QUERIES, *full_delta = stream_lse + QUERIES, *stream_delta = full_delta + QUERIES;
  int32_t *positions = reinterpret_cast<int32_t *>(stream_delta + QUERIES);
  const int kv_head = blockIdx.y, group = a.shape.group();
  const Factors factors = branch_factors(a, kv_head);
  const Window window(a.shape, kv_head);
  const int64_t first_key = static_cast<int64_t>(blockIdx.x) * KEYS;
  const int keys_here = static_cast<int>(a.num_keys - first_key < KEYS ? a.num_keys - first_key : KEYS);
  const int lane = threadIdx.x % 32, warp_row = static_cast<int>(threadIdx.x) / 32 * 16;

  const SeeingRows seeing(a.positions, a.num_rows, window, first_key, keys_here, factors.full != 0.0f);
  const int64_t begin = seeing.begin / QUERIES, end = ceil_divide(seeing.end, QUERIES),
                steps_a_head = end > begin ? end - begin : 0, steps = steps_a_head * group;

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
  copy_tile<D, THREADS>(keys, a.key + key_at, key_stride, KEYS, keys_here);
  if (MAKES_KEYS) copy_tile<D, THREADS>(values, a.value + key_at, key_stride, KEYS, keys_here);
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
      if (MAKES_KEYS) load_left<D>(value, values, warp_row, k * 16);
#pragma unroll
      for (int n = 0; n < QUERIES / 16; n++) {
        uint32_t right[4];
        load_right<D>(right, queries + buffer, n * 16, k * 16);
        mma_m16n8k16(scores[2 * n], key, right[0], right[1]);
        mma_m16n8k16(scores[2 * n + 1], key, right[2], right[3]);
        if constexpr (MAKES_KEYS) {
          load_right<D>(right, gradients + buffer, n * 16, k * 16);
          mma_m16n8k16(products[2 * n], value, right[0], right[1]);
          mma_m16n8k16(products[2 * n + 1], value, right[2], right[3]);
        }
      }
    }
    uint32_t weights[QUERIES / 8][2], slopes[QUERIES / 8][2];
#pragma unroll
    for (int n = 0; n < QUERIES / 8; n++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int32_t key = static_cast<int32_t>(first_key) + warp_row + half * 8 + lane / 4;
        PairGradient pair[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int query = n * 8 + lane % 4 * 2 + i;
          const bool in_full = window.full(positions[query]).sees(key),
                     in_stream = window.seen(positions[query]).sees(key);
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
        if constexpr (MAKES_VALUES) {
          load_right_transposed<D>(right, gradients + buffer, k * 16, n * 16);
          mma_m16n8k16(value_sum[2 * n], weight, right[0], right[1]);
          mma_m16n8k16(value_sum[2 * n + 1], weight, right[2], right[3]);
        }
        if constexpr (MAKES_KEYS) {
          load_right_transposed<D>(right, queries + buffer, k * 16, n * 16);
          mma_m16n8k16(key_sum[2 * n], slope, right[0], right[1]);
          mma_m16n8k16(key_sum[2 * n + 1], slope, right[2], right[3]);
        }
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
      if (MAKES_KEYS)
        *reinterpret_cast<float2 *>(a.d_key + at) = make_float2(key_sum[n][half * 2], key_sum[n][half * 2 + 1]);
      if (MAKES_VALUES)
        *reinterpret_cast<float2 *>(a.d_value + at) = make_float2(value_sum[n][half * 2], value_sum[n][half * 2 + 1]);
    }
  }
}

template <int D, bool MAKES_KEYS, bool MAKES_VALUES>
cudaError_t launch_key_gradient(const AttentionBackward &a, cudaStream_t stream) {
  using Shape = KeyGradientShape<D>;
  return launch(
      {dim3(static_cast<unsigned>(ceil_divide(a.num_keys, Shape::KEYS)), static_cast<unsigned>(a.shape.kv_heads)),
       THREADS, Shape::SHARED_BYTES},
      stream, key_gradient_kernel<D, MAKES_KEYS, MAKES_VALUES>, a);
}

template <int D>
cudaError_t launch_backward(const AttentionBackward &a, cudaStream_t stream) {
  using Shape = QueryGradientShape<D>;
  const Grid rows{
      dim3(static_cast<unsigned>(ceil_divide(a.num_rows, Shape::ROWS)), static_cast<unsigned>(a.shape.heads)), THREADS,
      Shape::SHARED_BYTES};
  if (const cudaError_t error = launch(rows, stream, query_gradient_kernel<D>, a); error != cudaSuccess) return error;
  if constexpr (KeyGradientShape<D>::IS_SPLIT) {
    const cudaError_t error = launch_key_gradient<D, false, true>(a, stream);
    return error != cudaSuccess ? error : launch_key_gradient<D, true, false>(a, stream);
  } else {
    return launch_key_gradient<D, true, true>(a, stream);
  }
}

}  // namespace

cudaError_t launch_attention_backward(const AttentionBackward &a, cudaStream_t stream) {
  return HopperHeadDims::contains(a.shape.head_dim) && has_hopper() ? launch_attention_backward_hopper(a, stream)
                                                                    : launch_attention_backward_plain(a, stream);
}

cudaError_t launch_attention_backward_plain(const AttentionBackward &a, cudaStream_t stream) {
  return HeadDims::choose(a.shape.head_dim, [&](auto dim) { return launch_backward<decltype(dim)::value>(a, stream); });
}

}  // namespace duo::cuda
