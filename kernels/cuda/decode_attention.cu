// Block: one share of the plan, which may lie across several heads. Warps take the share's pieces of ENTRIES entries in turn, each with a ring of
// its own in shared memory that cp.async fills some pieces ahead, so that a warp waits for no other until the head's share is done.
// Products on tensor cores, keys and value columns as the 16 rows, up to 8 queries (a group) as the 8 columns:
//   scoresᵀ [16 keys, 8] = K·Qᵀ: a lane reads D/4 elements of keys r and r + 8 (r = lane / 4); which ones does not matter, as Q is read alike.
//   outᵀ [16 elements, 8] += Vᵀ·weightsᵀ: a lane reads D/8 elements of keys 2c, 2c + 1, 2c + 8, 2c + 9 (c = lane mod 4), pairs them by key, and
//   each two elements are rows r and r + 8 of one product. The weights change from score to operand place by movmatrix.
// Raw cache values are exact in bf16; a format's scales multiply scores and weights.
// At a head's end the block's warps are joined, and the block that ends last of those that share the head joins their results, in the order of
// shares whichever it is, so that sums do not depend on it.
// Shared memory: per warp [stages] of keys, values, scales; then largest and sum [warps, 16]. At a head's end a warp's ring holds its outputs; in a
// join of shares, the rings hold a factor and a sum for each share and row, and as many shares' parts as fit.
#include "cuda/decode_attention.h"

#include <algorithm>

#include "cuda/dependent_launch.h"
#include "cuda/kv_encode.h"
#include "cuda/warp_fragments.h"

namespace duo::cuda {
namespace {

constexpr int MOST_WARPS = 8, ROWS = 16;

// Entries of a warp's piece: enough bytes to be worth a softmax step, a divisor of DECODE_TILE.
constexpr int entries_a_piece(Dtype dtype) { return value_bits(dtype) < 16 ? 32 : 16; }
constexpr int piece_bytes(Dtype dtype, int head_dim) { return entries_a_piece(dtype) * 2 * (kv_row_bytes(dtype, head_dim) + kv_scale_bytes(dtype)); }

// A cache row's place in a piece: its 16-byte parts are permuted so that what a quarter of a warp reads falls on different banks.
template <int ROW_BYTES>
struct PieceRows {
  static constexpr int PARTS = ROW_BYTES / 16;
  static __device__ __forceinline__ int turn(int row) {
    return PARTS >= 8 ? (row & 6) ^ (row & 1) << 2 : PARTS == 4 ? row >> 1 & 3 : PARTS == 2 ? row >> 2 & 1 : 0;
  }
  static __device__ __forceinline__ int offset(int row, int byte) { return row * ROW_BYTES + ((byte / 16 ^ turn(row)) * 16 + byte % 16); }
};

// BYTES of a row from `byte` on as raw words (2 bytes: one half word); fp32 is rounded to bf16 here.
template <Dtype DTYPE, int ROW_BYTES, int BYTES>
__device__ __forceinline__ void read_words(const uint8_t *rows, int row, int byte, uint32_t words[]) {
  const uint8_t *from = rows + PieceRows<ROW_BYTES>::offset(row, byte);
  if constexpr (DTYPE == Dtype::f32) {
    static_assert(BYTES == 16);
    const float4 four = *reinterpret_cast<const float4 *>(from);
    words[0] = pack_bf16(four.x, four.y), words[1] = pack_bf16(four.z, four.w);
  } else if constexpr (BYTES == 16) {
    const uint4 four = *reinterpret_cast<const uint4 *>(from);
    words[0] = four.x, words[1] = four.y, words[2] = four.z, words[3] = four.w;
  } else if constexpr (BYTES == 8) {
    const uint2 two = *reinterpret_cast<const uint2 *>(from);
    words[0] = two.x, words[1] = two.y;
  } else if constexpr (BYTES == 4) {
    words[0] = *reinterpret_cast<const uint32_t *>(from);
  } else {
    words[0] = *reinterpret_cast<const uint16_t *>(from);
  }
}

template <int D, Dtype DTYPE, int QUERY_TILES>
struct Attend {
  static constexpr int ENTRIES = entries_a_piece(DTYPE), STEPS = ENTRIES / 16, ROW_BYTES = kv_row_bytes(DTYPE, D);
  static constexpr bool HAS_SCALE = kv_scale_bytes(DTYPE) > 0;
  static constexpr int PIECE_BYTES = piece_bytes(DTYPE, D), PER_WORD = 2 * pairs_a_word(DTYPE), HALF = PER_WORD / 2;
  // A lane's reads of a key row and of a value row: bytes at a time, how many, and elements and (after rounding of fp32) words of each.
  static constexpr int KEY_BYTES = ROW_BYTES / 4 < 16 ? ROW_BYTES / 4 : 16, KEY_READS = ROW_BYTES / (4 * KEY_BYTES);
  static constexpr int VALUE_BYTES = ROW_BYTES / 8 < 16 ? ROW_BYTES / 8 : 16, VALUE_READS = ROW_BYTES / (8 * VALUE_BYTES);
  static constexpr int KEY_ELEMENTS = D / 4 / KEY_READS, VALUE_ELEMENTS = D / 8 / VALUE_READS;
  static constexpr int KEY_WORDS = KEY_ELEMENTS / PER_WORD, VALUE_WORDS = (VALUE_ELEMENTS + PER_WORD - 1) / PER_WORD;
  static_assert(KEY_WORDS >= 1 && KEY_ELEMENTS % 4 == 0 && VALUE_ELEMENTS % 4 == 0);

  uint32_t query[QUERY_TILES][KEY_READS][KEY_ELEMENTS / 2];
  float out[QUERY_TILES][D / 16][4];
  float largest[QUERY_TILES][2], sum[QUERY_TILES][2];  // of queries 2c, 2c + 1; sum: of this lane's keys

  // `queries` [rows, D]; queries past `rows` are zeros.
  __device__ __forceinline__ void begin(const bf16 *queries, int rows) {
    const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4;
#pragma unroll
    for (int q = 0; q < QUERY_TILES; q++) {
#pragma unroll
      for (int j = 0; j < KEY_READS; j++) {
#pragma unroll
        for (int p = 0; p < KEY_ELEMENTS / 2; p++) {
          // Pair p in the order in which spread_word gives a key's: value i of a word's halves.
          const int low = (4 * j + column) * KEY_ELEMENTS + p / HALF * PER_WORD + p % HALF;
          const bf16 *from = queries + (q * 8 + row) * D + low;
          query[q][j][p] = q * 8 + row < rows ? from[0] | static_cast<uint32_t>(from[HALF]) << 16 : 0u;
        }
      }
      for (int t = 0; t < D / 16; t++) {
        for (int i = 0; i < 4; i++) out[q][t][i] = 0.0f;
      }
      for (int i = 0; i < 2; i++) largest[q][i] = minus_infinity(), sum[q][i] = 0.0f;
    }
  }

  // The entries of a piece from `first` on, those before `end`; at least one.
  __device__ __forceinline__ void add(const uint8_t *piece, int first, int end) {
    const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4;
    const uint8_t *keys = piece, *values = piece + ENTRIES * ROW_BYTES;
    const auto *key_scales = reinterpret_cast<const uint32_t *>(values + ENTRIES * ROW_BYTES), *value_scales = key_scales + ENTRIES;
    float scores[QUERY_TILES][STEPS][4];
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      for (int q = 0; q < QUERY_TILES; q++) {
        for (int i = 0; i < 4; i++) scores[q][s][i] = 0.0f;
      }
      uint32_t offset[2] = {0, 0};
      if constexpr (DTYPE == Dtype::int4) {
        for (int half = 0; half < 2; half++) {
          const float zero = read_zero<DTYPE>(key_scales[s * 16 + half * 8 + row]);
          offset[half] = int4_offset(zero, zero);
        }
      }
#pragma unroll
      for (int j = 0; j < KEY_READS; j++) {
        uint32_t pairs[2][KEY_ELEMENTS / 2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          uint32_t words[KEY_WORDS];
          read_words<DTYPE, ROW_BYTES, KEY_BYTES>(keys, s * 16 + half * 8 + row, (4 * j + column) * KEY_BYTES, words);
#pragma unroll
          for (int w = 0; w < KEY_WORDS; w++) spread_word<DTYPE>(words[w], offset[half], pairs[half] + w * HALF);
        }
#pragma unroll
        for (int p = 0; p < KEY_ELEMENTS / 2; p += 2) {
          const uint32_t left[4] = {pairs[0][p], pairs[1][p], pairs[0][p + 1], pairs[1][p + 1]};
#pragma unroll
          for (int q = 0; q < QUERY_TILES; q++) multiply_tile(scores[q][s], left, query[q][j][p], query[q][j][p + 1]);
        }
      }
    }
    weigh(scores, key_scales, value_scales, first, end);
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      uint32_t weights[QUERY_TILES][2];
#pragma unroll
      for (int q = 0; q < QUERY_TILES; q++) {
        for (int half = 0; half < 2; half++) weights[q][half] = transpose_pairs(pack_bf16(scores[q][s][2 * half], scores[q][s][2 * half + 1]));
      }
      uint32_t offset[2] = {0, 0};
      if constexpr (DTYPE == Dtype::int4) {
        for (int half = 0; half < 2; half++) {
          const uint32_t *at = value_scales + s * 16 + half * 8 + 2 * column;
          offset[half] = int4_offset(read_zero<DTYPE>(at[0]), read_zero<DTYPE>(at[1]));
        }
      }
#pragma unroll
      for (int j = 0; j < VALUE_READS; j++) {
        uint32_t pairs[2][VALUE_WORDS * PER_WORD];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          uint32_t words[2][VALUE_WORDS];
          for (int i = 0; i < 2; i++) {
            read_words<DTYPE, ROW_BYTES, VALUE_BYTES>(values, s * 16 + half * 8 + 2 * column + i, (8 * j + row) * VALUE_BYTES, words[i]);
          }
#pragma unroll
          for (int w = 0; w < VALUE_WORDS; w++) {
            spread_word<DTYPE>(permute_bytes(words[0][w], words[1][w], 0x5410), offset[half], pairs[half] + w * PER_WORD);
            if (w * PER_WORD + HALF < VALUE_ELEMENTS) {
              spread_word<DTYPE>(permute_bytes(words[0][w], words[1][w], 0x7632), offset[half], pairs[half] + w * PER_WORD + HALF);
            }
          }
        }
#pragma unroll
        for (int t = 0; t < VALUE_ELEMENTS / 2; t++) {
          const uint32_t left[4] = {pairs[0][2 * t], pairs[0][2 * t + 1], pairs[1][2 * t], pairs[1][2 * t + 1]};
#pragma unroll
          for (int q = 0; q < QUERY_TILES; q++) multiply_tile(out[q][j * (VALUE_ELEMENTS / 2) + t], left, weights[q][0], weights[q][1]);
        }
      }
    }
  }

  // Scores become weights, values' scales included; what was summed so far is brought to the new largest score.
  __device__ __forceinline__ void weigh(float scores[QUERY_TILES][STEPS][4], const uint32_t *key_scales, const uint32_t *value_scales, int first, int end) {
    const int row = threadIdx.x % 32 / 4;
    const float scale = LOG2_E / sqrtf(static_cast<float>(D));
    float top[QUERY_TILES][2];
    for (int q = 0; q < QUERY_TILES; q++) top[q][0] = largest[q][0], top[q][1] = largest[q][1];
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int at = s * 16 + half * 8 + row;
        const bool is_seen = first + at < end;
        const float factor = HAS_SCALE ? scale * read_scale<DTYPE>(key_scales[at]) : scale;
#pragma unroll
        for (int q = 0; q < QUERY_TILES; q++) {
          for (int i = 0; i < 2; i++) {
            float &score = scores[q][s][2 * half + i];
            score = is_seen ? score * factor : minus_infinity();
            top[q][i] = fmaxf(top[q][i], score);
          }
        }
      }
    }
#pragma unroll
    for (int q = 0; q < QUERY_TILES; q++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        for (int lanes = 4; lanes < 32; lanes *= 2) top[q][i] = fmaxf(top[q][i], __shfl_xor_sync(ALL_LANES, top[q][i], lanes));
      }
      if (top[q][0] != largest[q][0] || top[q][1] != largest[q][1]) {
        // Entry `first` is seen, so tops are finite. Seldom taken once a share is under way.
        const float shrink[2] = {exp2_of(largest[q][0] - top[q][0]), exp2_of(largest[q][1] - top[q][1])};
        for (int i = 0; i < 2; i++) largest[q][i] = top[q][i], sum[q][i] *= shrink[i];
#pragma unroll
        for (int t = 0; t < D / 16; t++) {
          for (int i = 0; i < 4; i++) out[q][t][i] *= shrink[i % 2];
        }
      }
    }
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float value_scale = HAS_SCALE ? read_scale<DTYPE>(value_scales[s * 16 + half * 8 + row]) : 1.0f;
#pragma unroll
        for (int q = 0; q < QUERY_TILES; q++) {
          for (int i = 0; i < 2; i++) {
            float &score = scores[q][s][2 * half + i];
            const float weight = exp2_of(score - top[q][i]);
            sum[q][i] += weight;
            score = HAS_SCALE ? weight * value_scale : weight;
          }
        }
      }
    }
  }

  // outs [rows, D], tops and sums [rows] of this warp.
  __device__ __forceinline__ void store(float *outs, float *tops, float *sums, int rows) {
    const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4;
#pragma unroll
    for (int q = 0; q < QUERY_TILES; q++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int at = q * 8 + 2 * column + i;
        float total = sum[q][i];
        for (int lanes = 4; lanes < 32; lanes *= 2) total += __shfl_xor_sync(ALL_LANES, total, lanes);
        if (at >= rows) continue;
        if (row == 0) tops[at] = largest[q][i], sums[at] = total;
#pragma unroll
        for (int t = 0; t < D / 16; t++) {
          const int j = t / (VALUE_ELEMENTS / 2), element = (8 * j + row) * VALUE_ELEMENTS + 2 * (t % (VALUE_ELEMENTS / 2));
          outs[at * D + element] = out[q][t][i];
          outs[at * D + element + 1] = out[q][t][2 + i];
        }
      }
    }
  }

  // Start the copies of a piece: rows past `end` become zeros.
  static __device__ __forceinline__ void copy(uint8_t *piece, const DecodeHead &head, int first, int end) {
    const int lane = threadIdx.x % 32, valid = end - first;
    const int64_t from = static_cast<int64_t>(first) * ROW_BYTES;
#pragma unroll
    for (int i = 0; i < ENTRIES * ROW_BYTES / 16 / 32; i++) {
      const int part = i * 32 + lane, row = part / (ROW_BYTES / 16);
      const bool is_valid = row < valid;
      const int64_t at = from + (is_valid ? part * 16 : 0);
      uint8_t *to = piece + PieceRows<ROW_BYTES>::offset(row, part % (ROW_BYTES / 16) * 16);
      copy_async(to, head.key + at, is_valid);
      copy_async(to + ENTRIES * ROW_BYTES, head.value + at, is_valid);
    }
    if constexpr (HAS_SCALE) {
      static_assert(ENTRIES == 32);
      auto *to = reinterpret_cast<uint32_t *>(piece + 2 * ENTRIES * ROW_BYTES) + lane;
      const int at = first + (lane < valid ? lane : 0);
      copy_word_async(to, head.key_scale + at, lane < valid);
      copy_word_async(to + ENTRIES, head.value_scale + at, lane < valid);
    }
  }
};

// Bytes of what holds all warps' rings, or in a join of shares a factor and a sum for each share and row, and at least one share's part or a quad a thread.
__host__ __device__ constexpr int ring_bytes(const DecodeShape &shape, int bytes_a_piece, int query_tiles) {
  const int rings = shape.warps * shape.stages * bytes_a_piece, join = shape.blocks * query_tiles * 8 * 2 * 4 + (shape.warps * 32 + 1) * 16;
  const int least = (rings > join ? rings : join + 15) / 16 * 16;
  return least > shape.room ? least : shape.room / 16 * 16;
}

// Whether this block is the last of `count` to come here: all see what the others wrote before. The count begins at 0 and is 0 again after the last.
__device__ __forceinline__ bool is_last_of(int32_t *arrived, int count) {
  auto *is_last = reinterpret_cast<int32_t *>(shared_memory());  // the rings are read no more after the barrier
  __syncthreads();
  if (threadIdx.x == 0) {
    // For the whole block: barriers before and after carry what its other threads wrote and will read.
    publish_writes();
    *is_last = count_arrival(arrived) == count - 1;
    if (*is_last) *arrived = 0;
    publish_writes();
  }
  __syncthreads();
  const bool last = *is_last != 0;
  __syncthreads();
  return last;
}

// A layer's plan, 32 heads of it in a warp's registers: memory is waited for once, not for each head.
struct PlanWindow {
  const DecodeHead *plan;
  int heads, base;
  DecodeHead mine;

  __device__ __forceinline__ PlanWindow(const DecodeHead *layer_plan, int num_heads) : plan(layer_plan), heads(num_heads) { load(0); }
  __device__ __forceinline__ void load(int first) {
    const int at = first + static_cast<int>(threadIdx.x) % 32;
    base = first, mine = plan[at < heads ? at : heads];
  }
  // The first head that has a tile at or after `tile`.
  __device__ __forceinline__ int find(int tile) {
    for (int before = 0;;) {
      const int lane = threadIdx.x % 32;
      int is_before = base + lane < heads && mine.first_tile + count_tiles(mine.entries) <= tile;
      for (int lanes = 16; lanes > 0; lanes /= 2) is_before += __shfl_xor_sync(ALL_LANES, is_before, lanes);
      before += is_before;
      if (is_before < 32 || base + 32 >= heads) return before;
      load(base + 32);
    }
  }
  __device__ __forceinline__ DecodeHead get(int index) {
    if (index >= base + 32) load(index);
    const int lane = index - base;
    const auto pointer = [&](const void *of) { return __shfl_sync(ALL_LANES, reinterpret_cast<unsigned long long>(of), lane); };
    DecodeHead head;
    head.key = reinterpret_cast<const uint8_t *>(pointer(mine.key)), head.value = reinterpret_cast<const uint8_t *>(pointer(mine.value));
    head.key_scale = reinterpret_cast<const uint32_t *>(pointer(mine.key_scale)), head.value_scale = reinterpret_cast<const uint32_t *>(pointer(mine.value_scale));
    head.entries = __shfl_sync(ALL_LANES, mine.entries, lane), head.fresh = __shfl_sync(ALL_LANES, mine.fresh, lane);
    head.first_tile = __shfl_sync(ALL_LANES, mine.first_tile, lane);
    return head;
  }
};

// What the blocks that share a head have left in `partial`, joined by one of them: out [rows, D]. All of it is asked for at once, as memory is busy with
// the next kernel's weights and each wait is long. Teams of threads, four elements a thread, then take the shares in turn.
// `room` bytes of shared memory from `shared` on; totals [rows].
template <int D>
__device__ __forceinline__ void join_shares(const DecodeAttention &a, int64_t slot, int count, int rows, bf16 *out, uint8_t *shared, int room, float *totals) {
  const int group = a.heads / a.kv_heads, threads = a.shape.warps * 32, thread = threadIdx.x, lane = thread % 32;
  const int width = rows * (D / 4), span = width < threads ? width : threads, teams = threads / span, team = thread / span;
  auto *factors = reinterpret_cast<float *>(shared), *sums = factors + count * rows;
  auto *parts = reinterpret_cast<float4 *>(shared) + (2 * count * rows + 3) / 4;
  const int most = (room / 16 - (2 * count * rows + 3) / 4) / span;  // shares at a time
  for (int base = 0; base < width; base += span) {
    const int quad = base + thread % span, row = quad / (D / 4);
    const bool is_mine = team < teams && quad < width;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int first = 0; first < count; first += most) {
      const int here = count - first < most ? count - first : most;
      if (base > 0 || first > 0) __syncthreads();  // the last parts were read
      for (int i = thread; i < here * span; i += threads) {
        const int at = base + i % span;
        copy_async(parts + i, a.partial + (slot + static_cast<int64_t>(first + i / span) * group) * D + (at < width ? at : 0) * 4, at < width);
      }
      commit_copies();
      for (int r = thread / 32; base == 0 && first == 0 && r < rows; r += a.shape.warps) {
        float top = minus_infinity(), total = 0.0f;
        for (int i = lane; i < count; i += 32) {
          const float2 pair = load_fresh(reinterpret_cast<const float2 *>(a.partial_scale) + slot + static_cast<int64_t>(i) * group + r);
          factors[i * rows + r] = pair.x, sums[i * rows + r] = pair.y;
          top = fmaxf(top, pair.x);
        }
        top = max_warp(top);
        for (int i = lane; i < count; i += 32) {
          const float factor = exp2_of(factors[i * rows + r] - top);
          factors[i * rows + r] = factor;
          total += factor * sums[i * rows + r];
        }
        total = sum_warp(total);
        if (lane == 0) totals[r] = total;
      }
      wait_copies<0>();
      __syncthreads();
      for (int share = team; is_mine && share < here; share += teams) {
        const float factor = factors[(first + share) * rows + row];
        const float4 part = parts[share * span + thread % span];
        sum.x += factor * part.x, sum.y += factor * part.y, sum.z += factor * part.z, sum.w += factor * part.w;
      }
    }
    if (teams > 1) {
      __syncthreads();
      parts[thread] = sum;
      __syncthreads();
      for (int t = 1; team == 0 && t < teams; t++) {
        const float4 part = parts[t * span + thread];
        sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
      }
    }
    if (team > 0 || quad >= width) continue;
    const float total = totals[row];
    *reinterpret_cast<uint2 *>(out + quad * 4) = make_uint2(pack_bf16(sum.x / total, sum.y / total), pack_bf16(sum.z / total, sum.w / total));
  }
}

template <int D, Dtype DTYPE, int QUERY_TILES>
__global__ void __launch_bounds__(MOST_WARPS * 32, 1) decode_attention_kernel(const DecodeAttention a) {
  using Piece = Attend<D, DTYPE, QUERY_TILES>;
  constexpr int ENTRIES = Piece::ENTRIES;
  let_next_start();
  const int warps = a.shape.warps, stages = a.shape.stages, warp = threadIdx.x / 32;
  const int group = a.heads / a.kv_heads, first_row = blockIdx.y * QUERY_TILES * 8;
  const int rows = group - first_row < QUERY_TILES * 8 ? group - first_row : QUERY_TILES * 8;
  uint8_t *ring = shared_memory() + warp * stages * Piece::PIECE_BYTES;
  float *tops = reinterpret_cast<float *>(shared_memory() + ring_bytes(a.shape, Piece::PIECE_BYTES, QUERY_TILES)), *sums = tops + warps * ROWS;
  const int num_heads = a.batch * a.kv_heads;
  PlanWindow plan(a.plan, num_heads);
  const int share = tiles_a_block(a.plan[num_heads], a.shape.blocks);
  const int begin_tile = blockIdx.x * share, end_tile = begin_tile + share;

  for (int index = plan.find(begin_tile); index < num_heads; index++) {
    const DecodeHead head = plan.get(index);
    if (head.first_tile >= end_tile) break;
    const int begin = (begin_tile > head.first_tile ? begin_tile - head.first_tile : 0) * DECODE_TILE;
    const int up_to = (end_tile - head.first_tile) * DECODE_TILE, end = up_to < head.entries ? up_to : head.entries;
    if (begin >= end) continue;
    const int count = (end - begin + ENTRIES - 1) / ENTRIES, mine = (count - warp + warps - 1) / warps;
    const auto entry_of = [&](int turn) { return begin + (turn * warps + warp) * ENTRIES; };
    const auto start_copy = [&](int turn, int stage) {
      if (turn < mine) {
        const int first = entry_of(turn);
        if (head.fresh >= first && head.fresh < first + ENTRIES) wait_for_previous();
        Piece::copy(ring + stage * Piece::PIECE_BYTES, head, first, end);
      }
      commit_copies();  // an empty group too, so that counting groups is counting turns
    };
    for (int turn = 0; turn < stages - 1; turn++) start_copy(turn, turn);
    wait_for_previous();  // queries, and partial results that an earlier layer's join read
    Piece work;
    work.begin(a.query + (static_cast<int64_t>(index / a.kv_heads) * a.heads + index % a.kv_heads * group + first_row) * D, rows);
    for (int turn = 0, stage = 0; turn < mine; turn++) {
      wait_copies_left(stages - 2);
      __syncwarp();  // all lanes' copies have landed, and all lanes have left the stage that is filled next
      start_copy(turn + stages - 1, stage == 0 ? stages - 1 : stage - 1);
      work.add(ring + stage * Piece::PIECE_BYTES, entry_of(turn), end);
      stage = stage + 1 == stages ? 0 : stage + 1;
    }
    wait_copies<0>();
    __syncwarp();
    work.store(reinterpret_cast<float *>(ring), tops + warp * ROWS, sums + warp * ROWS, rows);
    __syncthreads();
    // Join the warps: outputs brought to the block's largest score, summed in warp order.
    const int first_share = head.first_tile / share, shares = (head.first_tile + count_tiles(head.entries) - 1) / share - first_share + 1;
    const int64_t slot = static_cast<int64_t>(blockIdx.x + index) * group + first_row;
    bf16 *out = a.out + (static_cast<int64_t>(index / a.kv_heads) * a.heads + index % a.kv_heads * group + first_row) * D;
    for (int i = static_cast<int>(threadIdx.x); i < rows * D; i += warps * 32) {
      const int at = i / D;
      float top = tops[at];
      for (int w = 1; w < warps; w++) top = fmaxf(top, tops[w * ROWS + at]);
      float value = 0.0f, total = 0.0f;
      for (int w = 0; w < warps; w++) {
        const float factor = exp2_of(tops[w * ROWS + at] - top);  // 0 of a warp without entries; warp 0 has some
        value += factor * reinterpret_cast<const float *>(shared_memory() + w * stages * Piece::PIECE_BYTES)[i];
        total += factor * sums[w * ROWS + at];
      }
      if (shares == 1) {
        out[i] = narrow(value / total);
      } else {
        a.partial[slot * D + i] = value;
        if (i % D == 0) a.partial_scale[2 * (slot + at)] = top, a.partial_scale[2 * (slot + at) + 1] = total;
      }
    }
    if (shares > 1 && is_last_of(a.arrived + index * gridDim.y + blockIdx.y, shares)) {
      join_shares<D>(a, static_cast<int64_t>(first_share + index) * group + first_row, shares, rows, out, shared_memory(),
                     ring_bytes(a.shape, Piece::PIECE_BYTES, QUERY_TILES), tops);
    }
    __syncthreads();
  }
  wait_for_previous();  // a block without entries must not end before the kernels that it was started beside
}

template <int D, Dtype DTYPE, int QUERY_TILES>
cudaError_t launch_tiles(const DecodeAttention &a, cudaStream_t stream) {
  static_assert(2 * piece_bytes(DTYPE, D) >= QUERY_TILES * 8 * D * static_cast<int>(sizeof(float)), "a ring of two stages holds a warp's outputs");
  const size_t shared = static_cast<size_t>(ring_bytes(a.shape, piece_bytes(DTYPE, D), QUERY_TILES)) + static_cast<size_t>(a.shape.warps) * 2 * ROWS * sizeof(float);
  const auto passes = static_cast<unsigned>(ceil_divide(a.heads / a.kv_heads, QUERY_TILES * 8));
  return launch_dependent({dim3(static_cast<unsigned>(a.shape.blocks), passes), a.shape.warps * 32, shared}, stream, decode_attention_kernel<D, DTYPE, QUERY_TILES>, a);
}

template <int D, Dtype DTYPE>
cudaError_t launch_group(const DecodeAttention &a, cudaStream_t stream) {
  return a.heads / a.kv_heads <= 8 ? launch_tiles<D, DTYPE, 1>(a, stream) : launch_tiles<D, DTYPE, 2>(a, stream);
}

template <int D>
cudaError_t launch_dtype(const DecodeAttention &a, cudaStream_t stream) {
  switch (a.dtype) {
    case Dtype::f32: return launch_group<D, Dtype::f32>(a, stream);
    case Dtype::bf16: return launch_group<D, Dtype::bf16>(a, stream);
    case Dtype::int8: return launch_group<D, Dtype::int8>(a, stream);
    case Dtype::fp8: return launch_group<D, Dtype::fp8>(a, stream);
    case Dtype::int4: return launch_group<D, Dtype::int4>(a, stream);
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace

// One block a multiprocessor: where two fit, blocks that start early (dependent_launch.h) gather on the multiprocessors that come free first, and the
// rest wait for those. Rings of half its shared memory are enough, of more were slower by some µs; a join of shares may use
// more. A quarter is left for the blocks of the kernel before, or this one's would have to wait for their end.
DecodeShape choose_decode_shape(Dtype dtype, int head_dim, int multiprocessors, int64_t shared_bytes, DecodeShape request) {
  const int64_t piece = piece_bytes(dtype, head_dim), spare = MOST_WARPS * 2 * ROWS * static_cast<int64_t>(sizeof(float));
  const int64_t room = std::max<int64_t>(1, (shared_bytes - spare) / piece);  // pieces
  DecodeShape shape = request;
  if (shape.warps < 1) {
    for (shape.warps = MOST_WARPS; shape.warps > 1 && shape.warps * 2 > room;) shape.warps /= 2;
  }
  shape.warps = std::min(shape.warps, MOST_WARPS);
  if (shape.stages < 1) shape.stages = static_cast<int32_t>(std::max<int64_t>(2, ceil_divide(shared_bytes / 2, shape.warps * piece)));
  shape.stages = static_cast<int32_t>(std::max<int64_t>(2, std::min<int64_t>({shape.stages, MOST_STAGES, room / shape.warps})));
  if (shape.blocks < 1) shape.blocks = multiprocessors;
  if (shape.room < 1) shape.room = static_cast<int32_t>(shared_bytes / 4 * 3);
  return shape;
}

cudaError_t launch_decode_attention(const DecodeAttention &a, cudaStream_t stream) {
  switch (a.head_dim) {
    case 32: return launch_dtype<32>(a, stream);
    case 64: return launch_dtype<64>(a, stream);
    case 128: return launch_dtype<128>(a, stream);
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace duo::cuda
