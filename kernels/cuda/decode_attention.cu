// Tensor cores without shared memory: the queries of a group are the 16 rows of a product, and the order of head elements (scores) and of
// output columns (values) is chosen so that each lane's operands are 16 contiguous bytes of a cache row.
//   scores: lane reads piece 4j + lane mod 4 of key lane / 4; its words are the depth pairs of two products.
//   values: lane reads piece 8j + lane / 4 of keys 2·(lane mod 4), +1, +8, +9; word halves of two keys make the depth pairs.
// Block: one item; 4 warps take 32 entries a step in turn. Raw cache values are exact in bf16; scales multiply scores and weights.
// Shared memory: per warp the group's outputs [rows ≤ 16, D], and largest and sum [16], fp32.
#include "cuda/decode_attention.h"

namespace duo::cuda {
namespace {

constexpr int WARPS = 4, THREADS = WARPS * 32, STEP = 32, ROWS = 16;

template <int D, Dtype DTYPE>
__global__ void __launch_bounds__(THREADS) decode_attention_kernel(const DecodeAttention a) {
  constexpr int KEY_LOADS = D / 32, VALUE_LOADS = D >= 64 ? D / 64 : 1;
  const DecodeItem item = a.items[blockIdx.x];
  const DecodeMember member = a.members[item.member];
  const HeadCache cache = member.caches[a.layer * a.kv_heads + item.kv_head];
  const int group = a.heads / a.kv_heads, first_row = blockIdx.y * ROWS, rows = group - first_row < ROWS ? group - first_row : ROWS;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = lane % 4, row = lane / 4;
  const int64_t seen = static_cast<int64_t>(*member.length) + 1, entries = seen < cache.slots ? seen : cache.slots;
  const int64_t share = ceil_divide(ceil_divide(entries, item.splits), STEP * WARPS) * (STEP * WARPS);
  const int64_t begin = item.split * share, end = begin + share < entries ? begin + share : entries;

  uint4 query[2][KEY_LOADS];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int at = row + half * 8;
    const bf16 *from = a.query + (static_cast<int64_t>(item.member) * a.heads + item.kv_head * group + first_row + (at < rows ? at : 0)) * D;
#pragma unroll
    for (int j = 0; j < KEY_LOADS; j++) {
      query[half][j] = at < rows ? *reinterpret_cast<const uint4 *>(from + (4 * j + column) * 8) : make_uint4(0, 0, 0, 0);
    }
  }
  float out[VALUE_LOADS * 8][4], largest[2], sum[2];
#pragma unroll
  for (int n = 0; n < VALUE_LOADS * 8; n++) {
    for (int i = 0; i < 4; i++) out[n][i] = 0.0f;
  }
  for (int half = 0; half < 2; half++) largest[half] = minus_infinity(), sum[half] = 0.0f;
  constexpr int ROW_BYTES = kv_row_bytes(DTYPE, D);
  constexpr bool HAS_SCALE = kv_scale_bytes(DTYPE) > 0;
  const float scale = LOG2_E / sqrtf(static_cast<float>(D));

  for (int64_t base = begin + warp * STEP; base < end; base += WARPS * STEP) {
    // Entries past the end read the last one's bytes and weigh nothing.
    const auto clamp = [&](int64_t entry) { return entry < end ? entry : end - 1; };
    float scores[STEP / 8][4];
#pragma unroll
    for (int n = 0; n < STEP / 8; n++) {
      for (int i = 0; i < 4; i++) scores[n][i] = 0.0f;
      const int64_t entry = clamp(base + n * 8 + row);
      const float zero = HAS_SCALE ? read_zero<DTYPE>(cache.key_scale[entry]) : 0.0f;
#pragma unroll
      for (int j = 0; j < KEY_LOADS; j++) {
        const uint4 key = read_raw<DTYPE>(cache.key + entry * ROW_BYTES, 4 * j + column, zero);
        const uint32_t first[4] = {query[0][j].x, query[1][j].x, query[0][j].y, query[1][j].y};
        const uint32_t second[4] = {query[0][j].z, query[1][j].z, query[0][j].w, query[1][j].w};
        multiply_tile(scores[n], first, key.x, key.y);
        multiply_tile(scores[n], second, key.z, key.w);
      }
    }
    uint32_t weights[STEP / 8][2];
    float value_scale[STEP / 8][2];
#pragma unroll
    for (int n = 0; n < STEP / 8; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int64_t entry = base + n * 8 + 2 * column + i, at = clamp(entry);
        const float factor = entry < end ? scale * (HAS_SCALE ? read_scale<DTYPE>(cache.key_scale[at]) : 1.0f) : 0.0f;
        value_scale[n][i] = HAS_SCALE ? read_scale<DTYPE>(cache.value_scale[at]) : 1.0f;
#pragma unroll
        for (int half = 0; half < 2; half++) {
          float &score = scores[n][half * 2 + i];
          score = entry < end ? score * factor : minus_infinity();
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float top = largest[half];
#pragma unroll
      for (int n = 0; n < STEP / 8; n++) top = fmaxf(top, fmaxf(scores[n][half * 2], scores[n][half * 2 + 1]));
      top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
      top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
      const float shrink = exp2_of(largest[half] - top);  // entry `base` is seen, so top is finite
      largest[half] = top;
      float total = 0.0f;
#pragma unroll
      for (int n = 0; n < STEP / 8; n++) {
        const float first = exp2_of(scores[n][half * 2] - top), second = exp2_of(scores[n][half * 2 + 1] - top);
        total += first + second;
        weights[n][half] = pack_bf16(first * value_scale[n][0], second * value_scale[n][1]);
      }
      sum[half] = sum[half] * shrink + total;
#pragma unroll
      for (int n = 0; n < VALUE_LOADS * 8; n++) {
        out[n][half * 2] *= shrink;
        out[n][half * 2 + 1] *= shrink;
      }
    }
#pragma unroll
    for (int k = 0; k < STEP / 16; k++) {
      const uint32_t left[4] = {weights[2 * k][0], weights[2 * k][1], weights[2 * k + 1][0], weights[2 * k + 1][1]};
#pragma unroll
      for (int j = 0; j < VALUE_LOADS; j++) {
        uint4 value[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int64_t entry = clamp(base + k * 16 + 2 * column + i % 2 + i / 2 * 8);
          const float zero = HAS_SCALE ? read_zero<DTYPE>(cache.value_scale[entry]) : 0.0f;
          const int piece = 8 * j + row;
          value[i] = piece < D / 8 ? read_raw<DTYPE>(cache.value + entry * ROW_BYTES, piece, zero) : make_uint4(0, 0, 0, 0);
        }
        const auto product = [&](int n, uint32_t a0, uint32_t a1, uint32_t b0, uint32_t b1) {
          multiply_tile(out[j * 8 + n], left, permute_bytes(a0, a1, 0x5410), permute_bytes(b0, b1, 0x5410));
          multiply_tile(out[j * 8 + n + 1], left, permute_bytes(a0, a1, 0x7632), permute_bytes(b0, b1, 0x7632));
        };
        product(0, value[0].x, value[1].x, value[2].x, value[3].x);
        product(2, value[0].y, value[1].y, value[2].y, value[3].y);
        product(4, value[0].z, value[1].z, value[2].z, value[3].z);
        product(6, value[0].w, value[1].w, value[2].w, value[3].w);
      }
    }
  }

  // Join the four warps: outputs brought to the block's largest score, summed in warp order.
  float *outs = reinterpret_cast<float *>(shared_memory()), *tops = outs + WARPS * rows * D, *sums = tops + WARPS * ROWS;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float total = sum[half];
    total += __shfl_xor_sync(ALL_LANES, total, 1);
    total += __shfl_xor_sync(ALL_LANES, total, 2);
    const int at = row + half * 8;
    if (at >= rows) continue;
    if (column == 0) tops[warp * ROWS + at] = largest[half], sums[warp * ROWS + at] = total;
#pragma unroll
    for (int j = 0; j < VALUE_LOADS; j++) {
#pragma unroll
      for (int n = 0; n < 8; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int piece = 8 * j + 2 * column + i;
          if (piece < D / 8) outs[(warp * rows + at) * D + piece * 8 + n] = out[j * 8 + n][half * 2 + i];
        }
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < rows * D; i += THREADS) {
    const int at = i / D;
    float top = tops[at];
    for (int w = 1; w < WARPS; w++) top = fmaxf(top, tops[w * ROWS + at]);
    const float base = top == minus_infinity() ? 0.0f : top;  // an empty share
    float value = 0.0f, total = 0.0f;
    for (int w = 0; w < WARPS; w++) {
      const float factor = exp2_of(tops[w * ROWS + at] - base);
      value += factor * outs[(w * rows + at) * D + i % D];
      total += factor * sums[w * ROWS + at];
    }
    const int64_t to = static_cast<int64_t>(blockIdx.x) * group + first_row + at;
    a.partial[to * D + i % D] = value;
    if (i % D == 0) a.partial_scale[2 * to] = top, a.partial_scale[2 * to + 1] = total;
  }
}

// Block: one query head of one session, a thread an output element; splits are joined in their order.
__global__ void decode_join_kernel(const DecodeAttention a) {
  const int group = a.heads / a.kv_heads, member = blockIdx.y, head = blockIdx.x, kv_head = head / group;
  const int first = a.first_item[member * a.kv_heads + kv_head], last = a.first_item[member * a.kv_heads + kv_head + 1];
  float top = minus_infinity();
  for (int item = first; item < last; item++) top = fmaxf(top, a.partial_scale[2 * (static_cast<int64_t>(item) * group + head % group)]);
  float value = 0.0f, total = 0.0f;
  const int element = threadIdx.x < static_cast<unsigned>(a.head_dim) ? static_cast<int>(threadIdx.x) : 0;
  for (int item = first; item < last; item++) {
    const int64_t at = static_cast<int64_t>(item) * group + head % group;
    const float factor = exp2_of(a.partial_scale[2 * at] - top);
    value += factor * a.partial[at * a.head_dim + element];
    total += factor * a.partial_scale[2 * at + 1];
  }
  if (threadIdx.x < static_cast<unsigned>(a.head_dim)) {
    a.out[(static_cast<int64_t>(member) * a.heads + head) * a.head_dim + element] = narrow(value / total);
  }
}

template <int D, Dtype DTYPE>
cudaError_t launch_items(const DecodeAttention &a, cudaStream_t stream) {
  const int group = a.heads / a.kv_heads, rows = group < ROWS ? group : ROWS;
  const Grid grid{dim3(static_cast<unsigned>(a.num_items), static_cast<unsigned>(ceil_divide(group, ROWS))), THREADS,
                  static_cast<size_t>(WARPS * (rows * D + 2 * ROWS)) * sizeof(float)};
  return launch(grid, stream, decode_attention_kernel<D, DTYPE>, a);
}

template <int D>
cudaError_t launch_dtype(const DecodeAttention &a, cudaStream_t stream) {
  switch (a.dtype) {
    case Dtype::f32: return launch_items<D, Dtype::f32>(a, stream);
    case Dtype::bf16: return launch_items<D, Dtype::bf16>(a, stream);
    case Dtype::int8: return launch_items<D, Dtype::int8>(a, stream);
    case Dtype::fp8: return launch_items<D, Dtype::fp8>(a, stream);
    case Dtype::int4: return launch_items<D, Dtype::int4>(a, stream);
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace

cudaError_t launch_decode_attention(const DecodeAttention &a, cudaStream_t stream) {
  cudaError_t error = cudaErrorInvalidValue;
  if (a.head_dim == 32) error = launch_dtype<32>(a, stream);
  if (a.head_dim == 64) error = launch_dtype<64>(a, stream);
  if (a.head_dim == 128) error = launch_dtype<128>(a, stream);
  if (error != cudaSuccess) return error;
  return launch({dim3(static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch)), a.head_dim < 32 ? 32 : a.head_dim}, stream, decode_join_kernel, a);
}

}  // namespace duo::cuda
