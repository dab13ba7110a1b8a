// The gradient of attention_backward.cu on Hopper: the same two kernels, one that owns query rows (dQ) and one that
// owns keys (dK, dV), so that sums have a fixed order. A producer warpgroup copies tiles, two consumers compute,
// products by wgmma. Weights and slopes go from one product to the next in registers: the key kernel makes scores
// transposed, rows are keys, so that they are its left operands without a transposition. Thread block: 384 threads;
// shared memory: QueryStorage, KeyStorage. Barriers as in attention_forward_hopper.cu, with these differences:
//   dQ       the keys of a step are released after dQ += dS·K, which reads them again; its values after dP = dO·Vᵀ
//   dK, dV   one pipeline for queries, their gradients d and their numbers; each of the 256 consumer threads arrives on `empty`, because all of them read
//            lse, deltas and positions by loads of their own
#include "cuda/attention_tiles.h"
#include "cuda/branch_factors.h"
#include "cuda/hopper_tiles.h"
#include "cuda/instances.h"

namespace duo::cuda {
namespace {

[[maybe_unused]] constexpr int OWNED = 128, THREADS = 3 * WARPGROUP, CONSUMERS = 2 * WARPGROUP;
[[maybe_unused]] constexpr int KEYS = 128;  // of a step of the query kernel
constexpr int QUERIES = 64;                 // of a step of the key kernel
constexpr int QUERY_STAGES = 3;
// Registers per thread after setmaxnreg: multiples of 8, (56 + 2 · 224) · 128 = 64512 of the SM's 65536. The key
// kernel's producer copies lse and deltas too, and needs more than that of attention_forward_hopper.cu.
[[maybe_unused]] constexpr int PRODUCER_REGISTERS = 56, CONSUMER_REGISTERS = 224;

// A lse with its branch's factor, given as its log2, folded in: factor·2^(score − lse) = 2^(score − folded). Without a
// factor lse may be anything.
[[maybe_unused]] __device__ __forceinline__ float fold(float lse, float log_factor) {
  return log_factor == minus_infinity() ? -minus_infinity() : lse - log_factor;
}

// ---- dQ: 128 query rows of one head, steps of 128 keys. Queries, d [128, D]; keys, values [2][128, D]. ----

template <int D>
struct QueryStorage {
  bf16 queries[OWNED * D], gradients[OWNED * D];
  bf16 keys[2][KEYS * D], values[2][KEYS * D];
  Mbarrier query_full;
  Pipeline<2> key_pipeline, value_pipeline;
};

template <int D>
__global__ void __launch_bounds__(THREADS, 1) query_gradient_hopper_kernel(const AttentionBackward a) {
#if DUO_HOPPER_CODE
  constexpr int TILE_BYTES = KEYS * D * static_cast<int>(sizeof(bf16));
  auto &shared = *reinterpret_cast<QueryStorage<D> *>(swizzled_memory());
  const int head = blockIdx.x, kv_head = head / a.shape.group();
  const Factors factors = branch_factors(a, kv_head);
  const int64_t first_row = static_cast<int64_t>(gridDim.y - 1 - blockIdx.y) * OWNED;
  const int rows_here = static_cast<int>(a.num_rows - first_row < OWNED ? a.num_rows - first_row : OWNED);
  const bool has_full = factors.full != 0.0f;
  // With the full branch every tile once; without, those that the streaming branch sees.
  const TilePlan<KEYS> plan(Window(a.shape, kv_head), a.positions[first_row], a.positions[first_row + rows_here - 1],
                            false, 0, !has_full, has_full);
  const int64_t query_stride = static_cast<int64_t>(a.shape.heads) * D,
                key_stride = static_cast<int64_t>(a.shape.kv_heads) * D;
  const int64_t query_at = first_row * query_stride + static_cast<int64_t>(head) * D;

  if (threadIdx.x == 0) {
    mbarrier_init(&shared.query_full, WARPGROUP);
    shared.key_pipeline.init(CONSUMERS / 32);
    shared.value_pipeline.init(CONSUMERS / 32);
  }
  __syncthreads();

  if (threadIdx.x < WARPGROUP) {
    setmaxnreg_dec<PRODUCER_REGISTERS>();
    LateProducer producer;
    copy_rows<D, OWNED>(shared.queries, reinterpret_cast<const uint8_t *>(a.query + query_at), query_stride * 2,
                        rows_here);
    copy_rows<D, OWNED>(shared.gradients, reinterpret_cast<const uint8_t *>(a.d_mixed + query_at), query_stride * 2,
                        rows_here);
    producer.commit(&shared.query_full);
    for (int32_t step = 0; step < plan.steps(); step++) {
      const int64_t first = static_cast<int64_t>(plan.tile_of(step)) * KEYS,
                    at = first * key_stride + static_cast<int64_t>(kv_head) * D;
      const int valid = static_cast<int>(a.num_keys - first < KEYS ? a.num_keys - first : KEYS);
      // Values come free before keys do, so that no tile waits for a later one's room to be handed over.
      shared.value_pipeline.producer_acquire(step);
      copy_rows<D, KEYS>(shared.values[step % 2], reinterpret_cast<const uint8_t *>(a.value + at), key_stride * 2,
                         valid);
      producer.commit(shared.value_pipeline.full + step % 2);
      shared.key_pipeline.producer_acquire(step);
      copy_rows<D, KEYS>(shared.keys[step % 2], reinterpret_cast<const uint8_t *>(a.key + at), key_stride * 2, valid);
      producer.commit(shared.key_pipeline.full + step % 2);
    }
    producer.finish();
  } else {
    setmaxnreg_inc<CONSUMER_REGISTERS>();
    const int consumer = static_cast<int>(threadIdx.x) - WARPGROUP, lane = consumer % 32, column = lane % 4 * 2;
    const int row_of_lane = consumer / 32 * 16 + lane / 4;
    int32_t position[2];
    int64_t number[2];
    float full_lse[2], full_delta[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = row_of_lane + half * 8;
      number[half] = static_cast<int64_t>(head) * a.num_rows + first_row + (row < rows_here ? row : 0);
      position[half] = row < rows_here ? a.positions[first_row + row] : plan.high;
      full_lse[half] = fold(a.full_lse[number[half]], log2f(factors.full)),
      full_delta[half] = a.full_delta[number[half]];
    }
    const uint64_t query_tile = smem_descriptor<OWNED>(shared.queries + consumer / WARPGROUP * (64 * 64));
    const uint64_t gradient_tile = smem_descriptor<OWNED>(shared.gradients + consumer / WARPGROUP * (64 * 64));
    const uint64_t key_tile = smem_descriptor<KEYS>(shared.keys[0]),
                   value_tile = smem_descriptor<KEYS>(shared.values[0]);
    const float scale = 1.0f / sqrtf(static_cast<float>(D)), log_scale = scale * LOG2_E;

    float sum[D / 2], scores[KEYS / 2], products[KEYS / 2];
    uint32_t slopes[KEYS / 16][4];
#pragma unroll
    for (int i = 0; i < D / 2; i++) sum[i] = 0.0f;
    mbarrier_wait(&shared.query_full, 0);
#pragma unroll 1
    for (int32_t step = 0; step < plan.steps(); step++) {
      const int32_t first_key = plan.tile_of(step) * KEYS;
      const uint64_t keys = advance(key_tile, step % 2 * TILE_BYTES),
                     values = advance(value_tile, step % 2 * TILE_BYTES);
      shared.key_pipeline.consumer_wait(step);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < D / 16; k++)
        wgmma_ss(scores, advance_k_major<OWNED>(query_tile, k), advance_k_major<KEYS>(keys, k), k > 0);
      wgmma_commit_group();
      shared.value_pipeline.consumer_wait(step);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < D / 16; k++)
        wgmma_ss(products, advance_k_major<OWNED>(gradient_tile, k), advance_k_major<KEYS>(values, k), k > 0);
      wgmma_commit_group();
      wgmma_wait_group<1>();
      wgmma_fence_operand(scores);
      // Slopes are made without the scale 1/√D, which the sum gets at the end.
      if (has_full && plan.window.hides(first_key, KEYS, plan.low)) {
#pragma unroll
        for (int i = 0; i < KEYS / 2; i++) scores[i] = exp2_of(scores[i] * log_scale - full_lse[i / 2 % 2]);
        wgmma_wait_group<0>();
        wgmma_fence_operand(products);
#pragma unroll
        for (int i = 0; i < KEYS / 2; i++) scores[i] *= products[i] - full_delta[i / 2 % 2];
      } else {
        wgmma_wait_group<0>();
        wgmma_fence_operand(products);
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const Visible in_full = plan.window.full(position[half]).after(first_key + column),
                        in_stream = plan.window.seen(position[half]).after(first_key + column);
          const float stream_lse = fold(a.stream_lse[number[half]], log2f(factors.stream)),
                      stream_delta = a.stream_delta[number[half]];
#pragma unroll
          for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
              const int32_t key = n * 8 + i;
              float &score = scores[n * 4 + half * 2 + i];
              const float dp = products[n * 4 + half * 2 + i], exponent = score * log_scale;
              const float full = in_full.sees(key) ? exp2_of(exponent - full_lse[half]) : 0.0f;
              const float stream = in_stream.sees(key) ? exp2_of(exponent - stream_lse) : 0.0f;
              score = full * (dp - full_delta[half]) + stream * (dp - stream_delta);
            }
          }
        }
      }
      shared.value_pipeline.consumer_release(step);
#pragma unroll
      for (int k = 0; k < KEYS / 16; k++) {
#pragma unroll
        for (int i = 0; i < 4; i++) slopes[k][i] = pack_bf16(scores[k * 8 + i * 2], scores[k * 8 + i * 2 + 1]);
      }
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < KEYS / 16; k++) wgmma_rs(sum, slopes[k], advance_mn_major(keys, k));
      wgmma_commit_group();
      wgmma_wait_group<0>();
      wgmma_fence_operand(sum);
      shared.key_pipeline.consumer_release(step);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = row_of_lane + half * 8;
      if (row >= rows_here) continue;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        *reinterpret_cast<float2 *>(a.d_query + query_at + row * query_stride + n * 8 + column) =
            make_float2(sum[n * 4 + half * 2] * scale, sum[n * 4 + half * 2 + 1] * scale);
      }
    }
  }
#endif
}

// ---- dK, dV: 128 keys of one KV head, steps of 64 query rows, head after head of the group. ---- Keys, values [128,
// D]; queries, d [3][64, D]; per step and query: lse and delta of both branches, position [3][5][64].

// Of one step, per query: lse and delta of both branches, as floats, and its position.
struct QueryNumbers {
  float full_lse[QUERIES], full_delta[QUERIES], stream_lse[QUERIES], stream_delta[QUERIES];
  int32_t position[QUERIES];
};

template <int D>
struct KeyStorage {
  bf16 keys[OWNED * D], values[OWNED * D];
  bf16 queries[QUERY_STAGES][QUERIES * D], gradients[QUERY_STAGES][QUERIES * D];
  QueryNumbers numbers[QUERY_STAGES];
  Mbarrier key_full;
  Pipeline<QUERY_STAGES> pipeline;
};

template <int D>
__global__ void __launch_bounds__(THREADS, 1) key_gradient_hopper_kernel(const AttentionBackward a) {
#if DUO_HOPPER_CODE
  constexpr int TILE_BYTES = QUERIES * D * static_cast<int>(sizeof(bf16));
  auto &shared = *reinterpret_cast<KeyStorage<D> *>(swizzled_memory());
  const int kv_head = blockIdx.x, group = a.shape.group();
  const Factors factors = branch_factors(a, kv_head);
  const int64_t first_key = static_cast<int64_t>(blockIdx.y) * OWNED;  // the first keys have the most queries
  const int keys_here = static_cast<int>(a.num_keys - first_key < OWNED ? a.num_keys - first_key : OWNED);
  const Window window(a.shape, kv_head);
  const SeeingRows seeing(a.positions, a.num_rows, window, first_key, keys_here, factors.full != 0.0f);
  const int64_t begin = seeing.begin / QUERIES, end = ceil_divide(seeing.end, QUERIES);
  const int32_t steps_a_head = static_cast<int32_t>(end > begin ? end - begin : 0), steps = steps_a_head * group;
  const int64_t query_stride = static_cast<int64_t>(a.shape.heads) * D,
                key_stride = static_cast<int64_t>(a.shape.kv_heads) * D;
  const int64_t key_at = first_key * key_stride + static_cast<int64_t>(kv_head) * D;

  if (threadIdx.x == 0) {
    mbarrier_init(&shared.key_full, WARPGROUP);
    shared.pipeline.init(CONSUMERS);
  }
  __syncthreads();

  if (threadIdx.x < WARPGROUP) {
    setmaxnreg_dec<PRODUCER_REGISTERS>();
    LateProducer producer;
    copy_rows<D, OWNED>(shared.keys, reinterpret_cast<const uint8_t *>(a.key + key_at), key_stride * 2, keys_here);
    copy_rows<D, OWNED>(shared.values, reinterpret_cast<const uint8_t *>(a.value + key_at), key_stride * 2, keys_here);
    producer.commit(&shared.key_full);
    int32_t step = 0;
    for (int member = 0; member < group; member++) {
      const int head = kv_head * group + member;
      for (int32_t tile = 0; tile < steps_a_head; tile++, step++) {
        const int64_t first = (begin + tile) * QUERIES, at = first * query_stride + static_cast<int64_t>(head) * D;
        const int valid = static_cast<int>(a.num_rows - first < QUERIES ? a.num_rows - first : QUERIES);
        shared.pipeline.producer_acquire(step);
        copy_rows<D, QUERIES>(shared.queries[step % QUERY_STAGES], reinterpret_cast<const uint8_t *>(a.query + at),
                              query_stride * 2, valid);
        copy_rows<D, QUERIES>(shared.gradients[step % QUERY_STAGES], reinterpret_cast<const uint8_t *>(a.d_mixed + at),
                              query_stride * 2, valid);
        if (threadIdx.x < QUERIES) {
          // Rows past the end weigh nothing: their queries and gradients are zeros, and so are these.
          const int row = static_cast<int>(threadIdx.x);
          const bool is_valid = row < valid;
          const int64_t number = static_cast<int64_t>(head) * a.num_rows + first + (is_valid ? row : 0);
          QueryNumbers &to = shared.numbers[step % QUERY_STAGES];
          cp_async_4(to.full_lse + row, a.full_lse + number, is_valid);
          cp_async_4(to.full_delta + row, a.full_delta + number, is_valid);
          cp_async_4(to.stream_lse + row, a.stream_lse + number, is_valid);
          cp_async_4(to.stream_delta + row, a.stream_delta + number, is_valid);
          cp_async_4(to.position + row, a.positions + first + (is_valid ? row : 0), is_valid);
        }
        producer.commit(shared.pipeline.full + step % QUERY_STAGES);
      }
    }
    producer.finish();
  } else {
    setmaxnreg_inc<CONSUMER_REGISTERS>();
    const int consumer = static_cast<int>(threadIdx.x) - WARPGROUP, lane = consumer % 32, column = lane % 4 * 2;
    const int row_of_lane = consumer / 32 * 16 + lane / 4;
    const uint64_t key_tile = smem_descriptor<OWNED>(shared.keys + consumer / WARPGROUP * (64 * 64));
    const uint64_t value_tile = smem_descriptor<OWNED>(shared.values + consumer / WARPGROUP * (64 * 64));
    const uint64_t first_queries = smem_descriptor<QUERIES>(shared.queries[0]),
                   first_gradients = smem_descriptor<QUERIES>(shared.gradients[0]);
    const float scale = 1.0f / sqrtf(static_cast<float>(D)), log_scale = scale * LOG2_E;
    const float full_log = log2f(factors.full), stream_log = log2f(factors.stream);

    float key_sum[D / 2], value_sum[D / 2];
#pragma unroll
    for (int i = 0; i < D / 2; i++) key_sum[i] = 0.0f, value_sum[i] = 0.0f;
    mbarrier_wait(&shared.key_full, 0);
#pragma unroll 1
    for (int32_t step = 0; step < steps; step++) {
      float scores[QUERIES / 2], products[QUERIES / 2];  // rows are keys, columns queries
      const int stage = step % QUERY_STAGES;
      const uint64_t queries = advance(first_queries, stage * TILE_BYTES),
                     gradients = advance(first_gradients, stage * TILE_BYTES);
      const QueryNumbers &numbers = shared.numbers[stage];
      shared.pipeline.consumer_wait(step);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < D / 16; k++)
        wgmma_ss(scores, advance_k_major<OWNED>(key_tile, k), advance_k_major<QUERIES>(queries, k), k > 0);
      wgmma_commit_group();
#pragma unroll
      for (int k = 0; k < D / 16; k++)
        wgmma_ss(products, advance_k_major<OWNED>(value_tile, k), advance_k_major<QUERIES>(gradients, k), k > 0);
      wgmma_commit_group();
      // Positions ascend; of rows past the end none is above the last. The whole warpgroup takes the same way.
      const bool is_plain =
          factors.full != 0.0f && window.hides(static_cast<int32_t>(first_key), OWNED, numbers.position[0]);
      wgmma_wait_group<1>();
      wgmma_fence_operand(scores);
      uint32_t weights[QUERIES / 16][4], slopes[QUERIES / 16][4];
      if (is_plain) {
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
          float2 lse = *reinterpret_cast<const float2 *>(numbers.full_lse + column + n * 8);
          lse.x -= full_log, lse.y -= full_log;  // fold(): here there is a factor
#pragma unroll
          for (int half = 0; half < 2; half++) {
            float &first = scores[n * 4 + half * 2], &second = scores[n * 4 + half * 2 + 1];
            first = exp2_of(first * log_scale - lse.x), second = exp2_of(second * log_scale - lse.y);
            weights[n / 2][n % 2 * 2 + half] = pack_bf16(first, second);
          }
        }
        wgmma_wait_group<0>();
        wgmma_fence_operand(products);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
          const float2 delta = *reinterpret_cast<const float2 *>(numbers.full_delta + column + n * 8);
#pragma unroll
          for (int half = 0; half < 2; half++) {
            slopes[n / 2][n % 2 * 2 + half] =
                pack_bf16(scores[n * 4 + half * 2] * (products[n * 4 + half * 2] - delta.x),
                          scores[n * 4 + half * 2 + 1] * (products[n * 4 + half * 2 + 1] - delta.y));
          }
        }
      } else {
        wgmma_wait_group<0>();
        wgmma_fence_operand(products);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
          float weight[2][2], slope[2][2];  // [half][i]
#pragma unroll
          for (int i = 0; i < 2; i++) {
            const int query = column + n * 8 + i;
            const float full_lse = fold(numbers.full_lse[query], full_log), full_delta = numbers.full_delta[query];
            const float stream_lse = fold(numbers.stream_lse[query], stream_log),
                        stream_delta = numbers.stream_delta[query];
            const Visible in_full = window.full(numbers.position[query]),
                          in_stream = window.seen(numbers.position[query]);
#pragma unroll
            for (int half = 0; half < 2; half++) {
              const int32_t key = static_cast<int32_t>(first_key) + row_of_lane + half * 8;
              const float exponent = scores[n * 4 + half * 2 + i] * log_scale, dp = products[n * 4 + half * 2 + i];
              const float full = in_full.sees(key) ? exp2_of(exponent - full_lse) : 0.0f;
              const float stream = in_stream.sees(key) ? exp2_of(exponent - stream_lse) : 0.0f;
              weight[half][i] = full + stream;
              slope[half][i] = full * (dp - full_delta) + stream * (dp - stream_delta);
            }
          }
#pragma unroll
          for (int half = 0; half < 2; half++) {
            weights[n / 2][n % 2 * 2 + half] = pack_bf16(weight[half][0], weight[half][1]);
            slopes[n / 2][n % 2 * 2 + half] = pack_bf16(slope[half][0], slope[half][1]);
          }
        }
      }
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < QUERIES / 16; k++) wgmma_rs(value_sum, weights[k], advance_mn_major(gradients, k));
#pragma unroll
      for (int k = 0; k < QUERIES / 16; k++) wgmma_rs(key_sum, slopes[k], advance_mn_major(queries, k));
      wgmma_commit_group();
      wgmma_wait_group<0>();
      wgmma_fence_operand(value_sum);
      wgmma_fence_operand(key_sum);
      shared.pipeline.consumer_release_each(step);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = row_of_lane + half * 8;
      if (row >= keys_here) continue;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        const int64_t at = key_at + row * key_stride + n * 8 + column;
        *reinterpret_cast<float2 *>(a.d_key + at) =
            make_float2(key_sum[n * 4 + half * 2] * scale, key_sum[n * 4 + half * 2 + 1] * scale);
        *reinterpret_cast<float2 *>(a.d_value + at) =
            make_float2(value_sum[n * 4 + half * 2], value_sum[n * 4 + half * 2 + 1]);
      }
    }
  }
#endif
}

template <int D>
cudaError_t launch_backward(const AttentionBackward &a, cudaStream_t stream) {
  const Grid rows{dim3(static_cast<unsigned>(a.shape.heads), static_cast<unsigned>(ceil_divide(a.num_rows, OWNED))),
                  THREADS, 1024 + sizeof(QueryStorage<D>)};
  const cudaError_t error = launch(rows, stream, query_gradient_hopper_kernel<D>, a);
  if (error != cudaSuccess) return error;
  const Grid keys{dim3(static_cast<unsigned>(a.shape.kv_heads), static_cast<unsigned>(ceil_divide(a.num_keys, OWNED))),
                  THREADS, 1024 + sizeof(KeyStorage<D>)};
  return launch(keys, stream, key_gradient_hopper_kernel<D>, a);
}

}  // namespace

cudaError_t launch_attention_backward_hopper(const AttentionBackward &a, cudaStream_t stream) {
  return HopperHeadDims::choose(a.shape.head_dim,
                                [&](auto dim) { return launch_backward<decltype(dim)::value>(a, stream); });
}

}  // namespace duo::cuda
