// Full and streaming attention in one pass over the scores, one online softmax carried on from the streaming branch's
// keys to the rest (attention_tiles.h). Tiles that no wanted branch sees are neither read nor computed. Block: WARPS
// warps, 16·ROW_TILES query rows each, of one head; key tiles in two buffers, the next copied while one is used. Shared
// memory: queries [ROWS, D], keys [2][KEYS, D], values [2][KEYS, D], bf16, permuted by tile_offset.
#include "cuda/attention_keys.h"
#include "cuda/attention_shapes.h"
#include "cuda/attention_tiles.h"
#include "cuda/hadamard.h"
#include "cuda/hopper.h"
#include "cuda/instances.h"
#include "cuda/tile.h"

namespace duo::cuda {
namespace {

constexpr int WARPS = 4, THREADS = WARPS * 32;

// The running softmax over 16·ROW_TILES rows of a warp. Scores are in units of log2.
template <int D, int ROW_TILES, int KEYS, Half HALF>
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

  // Take in one tile: scores[m][n][i] of key first_key + 8n + c…; of rows that do not see all of it, what they see.
  __device__ __forceinline__ void absorb(const float (&scores)[ROW_TILES][KEYS / 8][4], const bf16 *values,
                                         int32_t first_key, bool is_whole, const Visible (&visible)[ROW_TILES][2]) {
    const int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) {
      uint32_t weights[KEYS / 8][2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const Visible here = visible[m][half].after(first_key + column);
        float row[KEYS / 8][2], top = largest[m][half];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            row[n][i] = is_whole || here.sees(n * 8 + i) ? scores[m][n][half * 2 + i] : minus_infinity();
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

  // Lanes hold parts of a row's sum: that of all four of a row.
  __device__ __forceinline__ float total(int m, int half) const {
    float all = sum[m][half];
    all += __shfl_xor_sync(ALL_LANES, all, 1);
    all += __shfl_xor_sync(ALL_LANES, all, 2);
    return all;
  }
};

// Copy keys or values at positions first … first + KEYS − 1 of a head to a tile; positions past the chunk become zero.
template <int D, int KEYS>
__device__ __forceinline__ void load_keys(bf16 *tile, const AttentionForward &a, int kv_head, int64_t first,
                                          bool is_value) {
  for (int i = static_cast<int>(threadIdx.x); i < KEYS * (D / 8); i += THREADS) {
    const int row = i / (D / 8), piece = i % (D / 8);
    copy_key_piece<D>(tile + tile_offset<D>(row, piece), a, kv_head, first + row, piece, is_value);
  }
}

template <int D, bool FULL, bool STREAM, Half HALF>
__global__ void __launch_bounds__(THREADS) attention_forward_kernel(const AttentionForward a) {
  using Shape = ForwardShape<D, FULL && STREAM>;
  constexpr int ROWS = Shape::ROWS, ROW_TILES = Shape::ROW_TILES, KEYS = Shape::KEYS;
  bf16 *queries = reinterpret_cast<bf16 *>(shared_memory());
  bf16 *keys = queries + ROWS * D, *values = keys + 2 * KEYS * D;
  const int group = a.shape.group(), kv_head = a.kv_list[blockIdx.y / group],
            head = kv_head * group + static_cast<int>(blockIdx.y) % group;
  // Longest rows first: the grid's tail is short work.
  const int64_t first_row = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * ROWS;
  const int rows_here = static_cast<int>(a.num_rows - first_row < ROWS ? a.num_rows - first_row : ROWS);
  const TilePlan<KEYS> plan(STREAM ? Window(a.shape, kv_head) : Window(), a.positions[first_row],
                            a.positions[first_row + rows_here - 1], a.is_chunked, a.chunk_start, STREAM, FULL);
  const int lane = threadIdx.x % 32, warp_row = static_cast<int>(threadIdx.x) / 32 * 16 * ROW_TILES;
  const auto row_of = [&](int m, int half) { return warp_row + m * 16 + half * 8 + lane / 4; };

  const int64_t query_stride = static_cast<int64_t>(a.shape.heads) * D;
  copy_tile<D, THREADS>(queries, a.query + first_row * query_stride + static_cast<int64_t>(head) * D, query_stride,
                        ROWS, rows_here);
  const auto load_step = [&](int32_t step, int buffer) {
    const int32_t first = plan.tile_of(step) * KEYS;
    load_keys<D, KEYS>(keys + buffer, a, kv_head, first, false);
    load_keys<D, KEYS>(values + buffer, a, kv_head, first, true);
  };
  load_step(0, 0);
  cp_async_commit_group();

  OnlineSoftmax<D, ROW_TILES, KEYS, HALF> softmax;
  softmax.reset();
  constexpr bool KEEPS = FULL && STREAM;
  float kept[KEEPS ? D / 8 : 1][4];  // outputs of the streaming branch, while the softmax continues with the full one
  static_assert(!KEEPS || ROW_TILES == 1);
  const float scale = LOG2_E / sqrtf(static_cast<float>(D));

#pragma unroll 1
  for (int phase = STREAM ? 0 : 1; phase < (FULL ? 2 : 1); phase++) {
    const bool is_seen_phase = phase == 0;
    Visible visible[ROW_TILES][2];
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = row_of(m, half);
        visible[m][half] = plan.visible_to(row < rows_here ? a.positions[first_row + row] : plan.high, is_seen_phase);
      }
    }
    const int32_t end = is_seen_phase ? plan.num_seen : plan.steps();
#pragma unroll 1
    for (int32_t step = is_seen_phase ? 0 : plan.num_seen; step < end; step++) {
      const int buffer = step % 2 * KEYS * D;
      if (step + 1 < plan.steps()) load_step(step + 1, KEYS * D - buffer);
      cp_async_commit_group();
      cp_async_wait_group<1>();
      __syncthreads();  // this step's tile is whole

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
      const int32_t first_key = plan.tile_of(step) * KEYS;
      softmax.absorb(scores, values + buffer, first_key, plan.is_whole(first_key, is_seen_phase), visible);
      __syncthreads();  // every warp is done with this buffer before it is filled again
    }
    if constexpr (KEEPS) {
      if (!is_seen_phase) continue;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float total = softmax.total(0, half), factor = 1.0f / total;
        const int row = row_of(0, half);
        if (a.stream_lse != nullptr && row < rows_here && lane % 4 == 0)
          a.stream_lse[static_cast<int64_t>(head) * a.num_rows + first_row + row] =
              softmax.largest[0][half] + log2f(total);
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
          for (int i = 0; i < 2; i++) kept[n][half * 2 + i] = softmax.out[0][n][half * 2 + i] * factor;
        }
      }
    }
  }

  if constexpr (FULL != STREAM && HALF == Half::bf16) {  // caches are attended by one branch at a time
    if (a.rotates) {
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++)
          transform_row<D>([&](int n, int i) -> float & { return softmax.out[m][n][half * 2 + i]; });
      }
    }
  }
  const float gate = KEEPS ? a.gates[kv_head] : FULL ? 1.0f : 0.0f;
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float total = softmax.total(m, half), factor = 1.0f / total;
      const int row = row_of(m, half);
      if (row >= rows_here) continue;
      const int64_t out_row = (first_row + row) * query_stride + static_cast<int64_t>(head) * D;
      float *lse_out = FULL ? a.full_lse : a.stream_lse, *branch_out = FULL ? a.full : a.stream;
      if (lse_out != nullptr && lane % 4 == 0)
        lse_out[static_cast<int64_t>(head) * a.num_rows + first_row + row] = softmax.largest[m][half] + log2f(total);
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        const int64_t at = out_row + n * 8 + lane % 4 * 2;
        float2 own = make_float2(softmax.out[m][n][half * 2] * factor, softmax.out[m][n][half * 2 + 1] * factor),
               other = own;
        if (branch_out != nullptr) *reinterpret_cast<float2 *>(branch_out + at) = own;
        if constexpr (KEEPS) {
          other = make_float2(kept[n][half * 2], kept[n][half * 2 + 1]);
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

template <int D, bool FULL, bool STREAM, Half HALF>
cudaError_t launch_forward(const AttentionForward &a, cudaStream_t stream) {
  using Shape = ForwardShape<D, FULL && STREAM>;
  const Grid grid{dim3(static_cast<unsigned>(ceil_divide(a.num_rows, Shape::ROWS)),
                       static_cast<unsigned>(a.num_listed * a.shape.group())),
                  THREADS, Shape::SHARED_BYTES};
  return launch(grid, stream, attention_forward_kernel<D, FULL, STREAM, HALF>, a);
}

template <int D, Half HALF>
cudaError_t launch_branches(const AttentionForward &a, Branches branches, cudaStream_t stream) {
  switch (branches) {
    case Branches::full: return launch_forward<D, true, false, HALF>(a, stream);
    case Branches::stream: return launch_forward<D, false, true, HALF>(a, stream);
    default: return launch_forward<D, true, true, HALF>(a, stream);
  }
}

}  // namespace

cudaError_t launch_attention_forward(const AttentionForward &a, Branches branches, cudaStream_t stream) {
  if (a.num_listed == 0 || a.num_rows == 0) return cudaSuccess;
  return HopperHeadDims::contains(a.shape.head_dim) && has_hopper()
             ? launch_attention_forward_hopper(a, branches, stream)
             : launch_attention_forward_plain(a, branches, stream);
}

cudaError_t launch_attention_forward_plain(const AttentionForward &a, Branches branches, cudaStream_t stream) {
  return HeadDims::choose(a.shape.head_dim, [&](auto dim) {
    return ForwardHalves::choose(a.dtype == Dtype::f16 ? Half::f16 : Half::bf16, [&](auto half) {
      return launch_branches<decltype(dim)::value, decltype(half)::value>(a, branches, stream);
    });
  });
}

}  // namespace duo::cuda
