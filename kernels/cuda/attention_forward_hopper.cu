// Attention on Hopper: a producer warpgroup and two consumers of 64 query rows each, products by wgmma.
// attention_tiles.h says why both branches are one online softmax. Thread block: 384 threads, 128 query rows of one
// head; shared memory: SharedStorage. Barriers, in a consumer's order:
//   query_full              producer arrives once (128 threads)        consumers wait before the first step
//   key_pipeline.full[s]    producer, keys of step s have landed        consumers before S = Q·Kᵀ of step s
//   key_pipeline.empty[s]   8 consumer warps, S of step s is complete   producer before it copies the keys of step s + 2
//   value_pipeline.full[s]  producer, values of step s have landed      consumers before O += P·V of step s
//   value_pipeline.empty[s] 8 consumer warps, that product is complete  producer before it copies the values of step s + 2
// S of step s + 1 is under way on the tensor cores while O += P·V of step s is: two wgmma groups, waited for in order.
#include "cuda/attention_keys.h"
#include "cuda/attention_tiles.h"
#include "cuda/hadamard.h"
#include "cuda/hopper_tiles.h"
#include "cuda/instances.h"

namespace duo::cuda {
namespace {

constexpr int ROWS = 128, KEYS = 128, THREADS = 3 * WARPGROUP, CONSUMERS = 2 * WARPGROUP;

// Registers per thread after setmaxnreg: multiples of 8, (40 + 2 · 232) · 128 = 64512 of the SM's 65536. The producer
// computes cp.async addresses only; a consumer of D = 128 keeps 64 outputs, 64 scores and 32 weights.
[[maybe_unused]] constexpr int PRODUCER_REGISTERS = 40, CONSUMER_REGISTERS = 232;

// From a multiple of 1024 bytes on; tiles are bf16 or f16, swizzled.
template <int D, bool FULL, bool STREAM>
struct SharedStorage {
  bf16 queries[ROWS * D];
  bf16 keys[2][KEYS * D], values[2][KEYS * D];
  float
      kept[FULL && STREAM ? CONSUMERS * (D / 2) : 2];  // outputs of the streaming branch, [D/2][256], each thread's own
  Mbarrier query_full;
  Pipeline<2> key_pipeline, value_pipeline;
};

// Start copying keys or values at positions first … first + KEYS − 1 of a head; positions past the chunk become zero.
template <int D>
__device__ __forceinline__ void copy_keys(bf16 *tile, const AttentionForward &a, int kv_head, int32_t first,
                                          bool is_value) {
  if (a.dtype == Dtype::bf16 || a.dtype == Dtype::f16) {
    constexpr int row_bytes = kv_row_bytes(Dtype::bf16, D);
    if (first >= a.chunk_start) {
      const int64_t at = first - a.chunk_start, left = a.chunk_count - at;
      const uint8_t *chunk = is_value ? a.chunk_value : a.chunk_key;
      copy_rows<D, KEYS>(tile, chunk + (at * a.shape.kv_heads + kv_head) * row_bytes,
                         static_cast<int64_t>(a.shape.kv_heads) * row_bytes,
                         static_cast<int>(left < KEYS ? left : KEYS));
      return;
    }
    const HeadCache &cache = a.caches[kv_head];
    if (!cache.is_ring && first + KEYS <= a.chunk_start) {
      static_assert(PAGE_ENTRIES % KEYS == 0, "a tile lies in one page");
      const CacheRows rows = find_rows(cache, first, Dtype::bf16, D);
      copy_rows<D, KEYS>(tile, is_value ? rows.value : rows.key, row_bytes, KEYS);
      return;
    }
  }
  // A ring, a stored format that has to be widened, or a tile across the end of the cache: row by row.
  for (int i = threadIdx.x % WARPGROUP; i < KEYS * (D / 8); i += WARPGROUP) {
    const int row = i / (D / 8), piece = i % (D / 8);
    copy_key_piece<D>(tile + swizzled_offset<KEYS>(row, piece), a, kv_head, first + row, piece, is_value);
  }
}

template <int D, bool FULL, bool STREAM, Half HALF>
__global__ void __launch_bounds__(THREADS, 1) attention_forward_hopper_kernel(const AttentionForward a) {
#if DUO_HOPPER_CODE
  constexpr int TILE_BYTES = KEYS * D * static_cast<int>(sizeof(bf16));
  auto &shared = *reinterpret_cast<SharedStorage<D, FULL, STREAM> *>(swizzled_memory());
  const int group = a.shape.group(), kv_head = a.kv_list[blockIdx.x / group],
            head = kv_head * group + static_cast<int>(blockIdx.x) % group;
  // Longest rows first, of all heads: the grid's tail is short work.
  const int64_t first_row = static_cast<int64_t>(gridDim.y - 1 - blockIdx.y) * ROWS;
  const int rows_here = static_cast<int>(a.num_rows - first_row < ROWS ? a.num_rows - first_row : ROWS);
  const TilePlan<KEYS> plan(STREAM ? Window(a.shape, kv_head) : Window(), a.positions[first_row],
                            a.positions[first_row + rows_here - 1], a.is_chunked, a.chunk_start, STREAM, FULL);
  const int64_t query_stride = static_cast<int64_t>(a.shape.heads) * D;

  if (threadIdx.x == 0) {
    mbarrier_init(&shared.query_full, WARPGROUP);
    shared.key_pipeline.init(CONSUMERS / 32);
    shared.value_pipeline.init(CONSUMERS / 32);
  }
  __syncthreads();

  if (threadIdx.x < WARPGROUP) {
    setmaxnreg_dec<PRODUCER_REGISTERS>();
    LateProducer producer;
    copy_rows<D, ROWS>(
        shared.queries,
        reinterpret_cast<const uint8_t *>(a.query + first_row * query_stride + static_cast<int64_t>(head) * D),
        query_stride * 2, rows_here);
    producer.commit(&shared.query_full);
    // Values of a step together with the keys of the next: both tiles come free as a step ends, and are needed when the
    // next one has.
    for (int32_t step = -1; step < plan.steps(); step++) {
      if (step >= 0) {
        shared.value_pipeline.producer_acquire(step);
        copy_keys<D>(shared.values[step % 2], a, kv_head, plan.tile_of(step) * KEYS, true);
        producer.commit(shared.value_pipeline.full + step % 2);
      }
      if (step + 1 < plan.steps()) {
        shared.key_pipeline.producer_acquire(step + 1);
        copy_keys<D>(shared.keys[(step + 1) % 2], a, kv_head, plan.tile_of(step + 1) * KEYS, false);
        producer.commit(shared.key_pipeline.full + (step + 1) % 2);
      }
      producer.finish();
    }
  } else {
    setmaxnreg_inc<CONSUMER_REGISTERS>();
    const int consumer = static_cast<int>(threadIdx.x) - WARPGROUP, lane = consumer % 32, column = lane % 4 * 2;
    const int row_of_lane = consumer / 32 * 16 + lane / 4;
    int32_t position[2];
    for (int half = 0; half < 2; half++)
      position[half] = row_of_lane + half * 8 < rows_here ? a.positions[first_row + row_of_lane + half * 8] : plan.high;
    const uint64_t query_tile = smem_descriptor<ROWS>(shared.queries + consumer / WARPGROUP * (64 * 64));
    const uint64_t key_tile = smem_descriptor<KEYS>(shared.keys[0]),
                   value_tile = smem_descriptor<KEYS>(shared.values[0]);
    const float scale = LOG2_E / sqrtf(static_cast<float>(D));

    float out[D / 2], scores[KEYS / 2], largest[2], sum[2], shrink[2];
    uint32_t weights[KEYS / 16][4];
#pragma unroll
    for (int i = 0; i < D / 2; i++) out[i] = 0.0f;
#pragma unroll
    for (int half = 0; half < 2; half++) largest[half] = minus_infinity(), sum[half] = 0.0f;

    const auto begin_scores = [&](int32_t step) {
      shared.key_pipeline.consumer_wait(step);
      const uint64_t keys = advance(key_tile, step % 2 * TILE_BYTES);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < D / 16; k++)
        wgmma_ss<HALF>(scores, advance_k_major<ROWS>(query_tile, k), advance_k_major<KEYS>(keys, k), k > 0);
      wgmma_commit_group();
    };
    const auto begin_outputs = [&](int32_t step) {
      shared.value_pipeline.consumer_wait(step);
      const uint64_t values = advance(value_tile, step % 2 * TILE_BYTES);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < KEYS / 16; k++) wgmma_rs<HALF>(out, weights[k], advance_mn_major(values, k));
      wgmma_commit_group();
    };
    // Scores to weights, still fp32; `shrink` is what earlier outputs are worth now.
    const auto online_softmax = [&](int32_t step, bool is_seen_phase, const Visible(&visible)[2]) {
      const int32_t first_key = plan.tile_of(step) * KEYS;
      if (!plan.is_whole(first_key, is_seen_phase)) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const Visible here = visible[half].after(first_key + column);
#pragma unroll
          for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
              if (!here.sees(n * 8 + i)) scores[n * 4 + half * 2 + i] = minus_infinity();
            }
          }
        }
      }
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float top = largest[half];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
          top = fmaxf(top, fmaxf(scores[n * 4 + half * 2], scores[n * 4 + half * 2 + 1]));
        top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
        top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
        const float base = top == minus_infinity() ? 0.0f : top * scale;  // a row that has seen no key yet
        shrink[half] = exp2_of(largest[half] * scale - base);
        largest[half] = top;
        float total = 0.0f;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            float &score = scores[n * 4 + half * 2 + i];
            score = exp2_of(score * scale - base);
            total += score;
          }
        }
        sum[half] = sum[half] * shrink[half] + total;
      }
    };
    const auto pack_weights = [&] {
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) out[n * 4 + i] *= shrink[i / 2];
      }
#pragma unroll
      for (int k = 0; k < KEYS / 16; k++) {
#pragma unroll
        for (int i = 0; i < 4; i++) weights[k][i] = pack_as<HALF>(scores[k * 8 + i * 2], scores[k * 8 + i * 2 + 1]);
      }
    };
    // The share of a row's softmax in its lane to that of the row: 1 / sum, and log2 of the sum of 2^score.
    const auto finish_row = [&](int half, float &lse) {
      float total = sum[half];
      total += __shfl_xor_sync(ALL_LANES, total, 1);
      total += __shfl_xor_sync(ALL_LANES, total, 2);
      lse = largest[half] * scale + log2f(total);
      return 1.0f / total;
    };
    const auto locate = [&](int half) {
      return (first_row + row_of_lane + half * 8) * query_stride + static_cast<int64_t>(head) * D + column;
    };

    mbarrier_wait(&shared.query_full, 0);
#pragma unroll 1
    for (int phase = STREAM ? 0 : 1; phase < (FULL ? 2 : 1); phase++) {
      const bool is_seen_phase = phase == 0;
      const int32_t begin = is_seen_phase ? 0 : plan.num_seen, end = is_seen_phase ? plan.num_seen : plan.steps();
      if (begin == end) continue;
      const Visible visible[2] = {plan.visible_to(position[0], is_seen_phase),
                                  plan.visible_to(position[1], is_seen_phase)};
      begin_scores(begin);
      wgmma_wait_group<0>();
      wgmma_fence_operand(scores);
      shared.key_pipeline.consumer_release(begin);
      online_softmax(begin, is_seen_phase, visible);
      pack_weights();
#pragma unroll 1
      for (int32_t step = begin + 1; step < end; step++) {
        begin_scores(step);
        begin_outputs(step - 1);
        wgmma_wait_group<1>();
        wgmma_fence_operand(scores);
        shared.key_pipeline.consumer_release(step);
        online_softmax(step, is_seen_phase, visible);
        wgmma_wait_group<0>();
        wgmma_fence_operand(out);
        shared.value_pipeline.consumer_release(step - 1);
        pack_weights();
      }
      begin_outputs(end - 1);
      wgmma_wait_group<0>();
      wgmma_fence_operand(out);
      shared.value_pipeline.consumer_release(end - 1);

      if (FULL && STREAM && is_seen_phase) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          float lse;
          const float factor = finish_row(half, lse);
          const int row = row_of_lane + half * 8;
          if (a.stream_lse != nullptr && row < rows_here && lane % 4 == 0)
            a.stream_lse[static_cast<int64_t>(head) * a.num_rows + first_row + row] = lse;
#pragma unroll
          for (int n = 0; n < D / 8; n++) {
            const float2 own = make_float2(out[n * 4 + half * 2] * factor, out[n * 4 + half * 2 + 1] * factor);
            shared.kept[(n * 4 + half * 2) * CONSUMERS + consumer] = own.x;
            shared.kept[(n * 4 + half * 2 + 1) * CONSUMERS + consumer] = own.y;
            if (a.stream != nullptr && row < rows_here)
              *reinterpret_cast<float2 *>(a.stream + locate(half) + n * 8) = own;
          }
        }
      }
    }

    if constexpr (FULL != STREAM && HALF == Half::bf16) {  // caches are attended by one branch at a time
      if (a.rotates) {
#pragma unroll
        for (int half = 0; half < 2; half++)
          transform_row<D>([&](int n, int i) -> float & { return out[n * 4 + half * 2 + i]; });
      }
    }
    const float gate = FULL && STREAM ? a.gates[kv_head] : FULL ? 1.0f : 0.0f;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float lse;
      const float factor = finish_row(half, lse);
      const int row = row_of_lane + half * 8;
      if (row >= rows_here) continue;
      float *lse_out = FULL ? a.full_lse : a.stream_lse, *branch_out = FULL ? a.full : a.stream;
      if (lse_out != nullptr && lane % 4 == 0) lse_out[static_cast<int64_t>(head) * a.num_rows + first_row + row] = lse;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        const int64_t at = locate(half) + n * 8;
        float2 own = make_float2(out[n * 4 + half * 2] * factor, out[n * 4 + half * 2 + 1] * factor), other = own;
        if (branch_out != nullptr) *reinterpret_cast<float2 *>(branch_out + at) = own;
        if constexpr (FULL && STREAM) {
          other = make_float2(shared.kept[(n * 4 + half * 2) * CONSUMERS + consumer],
                              shared.kept[(n * 4 + half * 2 + 1) * CONSUMERS + consumer]);
        }
        if (a.teacher_full != nullptr) own = *reinterpret_cast<const float2 *>(a.teacher_full + at);
        // The ends of the gate are exact, whatever the other branch holds.
        const float x = gate == 1.0f ? own.x : gate == 0.0f ? other.x : gate * own.x + (1.0f - gate) * other.x;
        const float y = gate == 1.0f ? own.y : gate == 0.0f ? other.y : gate * own.y + (1.0f - gate) * other.y;
        *reinterpret_cast<uint32_t *>(a.mixed + at) = pack_as<HALF>(x, y);
      }
    }
  }
#endif
}

template <int D, bool FULL, bool STREAM, Half HALF>
cudaError_t launch_forward(const AttentionForward &a, cudaStream_t stream) {
  const Grid grid{
      dim3(static_cast<unsigned>(a.num_listed * a.shape.group()), static_cast<unsigned>(ceil_divide(a.num_rows, ROWS))),
      THREADS, 1024 + sizeof(SharedStorage<D, FULL, STREAM>)};
  return launch(grid, stream, attention_forward_hopper_kernel<D, FULL, STREAM, HALF>, a);
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

cudaError_t launch_attention_forward_hopper(const AttentionForward &a, Branches branches, cudaStream_t stream) {
  return HopperHeadDims::choose(a.shape.head_dim, [&](auto dim) {
    return ForwardHalves::choose(a.dtype == Dtype::f16 ? Half::f16 : Half::bf16, [&](auto half) {
      return launch_branches<decltype(dim)::value, decltype(half)::value>(a, branches, stream);
    });
  });
}

}  // namespace duo::cuda
