// What a warp does with a piece of a head's cache entries: copies it to shared memory, scores its keys and weighs its
// values. Products on tensor cores, keys and value columns as the 16 rows, up to 8 queries (a group) as the 8 columns:
//   scoresᵀ [16 keys, 8] = K·Qᵀ: a lane reads D/4 elements of keys r and r + 8 (r = lane / 4); which ones does not matter, as Q is read alike.
//   outᵀ [16 elements, 8] += Vᵀ·weightsᵀ: a lane reads D/8 elements of keys 2c, 2c + 1, 2c + 8, 2c + 9 (c = lane mod 4), pairs them by key, and
//   each two elements are rows r and r + 8 of one product. The weights change from score to operand place by movmatrix.
// Raw cache values are exact in bf16; a format's scales multiply scores and weights.
#pragma once
#include "cuda/decode_plan.h"
#include "cuda/warp_fragments.h"

namespace duo::cuda {

// Tiles of 8 queries that a warp holds: a group of up to 8 has one, a larger one two, where their outputs fit the
// registers. Groups of more queries are shared by several warps (decode_attention.cu).
__host__ __device__ constexpr int decode_query_tiles(int head_dim, int group) {
  return group <= 8 || head_dim > 128 ? 1 : 2;
}

// Entries of a warp's piece: enough bytes to be worth a softmax step, a divisor of DECODE_TILE.
constexpr int entries_a_piece(Dtype dtype) { return value_bits(key_dtype(dtype)) < 16 ? 32 : 16; }
constexpr int piece_bytes(Dtype dtype, int head_dim) {
  return entries_a_piece(dtype) * kv_entry_bytes(dtype, head_dim);
}

// A cache row's place in a piece: its 16-byte parts are permuted so that what a quarter of a warp reads falls on
// different banks; rows of an odd number of parts do so by themselves.
template <int ROW_BYTES>
struct PieceRows {
  static constexpr int PARTS = ROW_BYTES / 16;
  static __device__ __forceinline__ int turn(int row) {
    return PARTS % 8 == 0   ? (row & 6) ^ (row & 1) << 2
           : PARTS % 4 == 0 ? row >> 1 & 3
           : PARTS % 2 == 0 ? row >> 2 & 1
                            : 0;
  }
  static __device__ __forceinline__ int offset(int row, int byte) {
    return row * ROW_BYTES + ((byte / 16 ^ turn(row)) * 16 + byte % 16);
  }
};

// BYTES of a row from `byte` on as raw words (2 bytes: one half word); fp32 is rounded to bf16 here.
template <Dtype DTYPE, int ROW_BYTES, int BYTES>
__device__ __forceinline__ void read_words(const uint8_t *rows, int row, int byte, uint32_t words[]) {
  const uint8_t *from = rows + PieceRows<ROW_BYTES>::offset(row, byte);
  if constexpr (DTYPE == Dtype::f32 && BYTES == 8) {
    const float2 two = *reinterpret_cast<const float2 *>(from);
    words[0] = pack_bf16(two.x, two.y);
  } else if constexpr (DTYPE == Dtype::f32) {
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

// The largest power of two that divides `bytes`, at most 16: how much of a row a lane reads at once.
__host__ __device__ constexpr int bytes_a_read(int bytes) { return bytes % 16 == 0 ? 16 : bytes & -bytes; }

// Elements of a row with its padding, which queries have zeros for and outputs are dropped of.
__host__ __device__ constexpr int row_width(Dtype stored, int head_dim) {
  return stored == Dtype::int4 ? 2 * kv_row_bytes(stored, head_dim) : head_dim;
}

// Floats from a row of a warp's outputs to the next, with a gap every 32.
__host__ __device__ constexpr int output_stride(int width) { return width + 2 * ((width + 31) / 32 - 1); }

template <int D, Dtype DTYPE, int QUERY_TILES>
struct Attend {
  // Keys and values may be stored unlike.
  static constexpr Dtype KEY = key_dtype(DTYPE), VALUE = value_dtype(DTYPE);
  static constexpr int ENTRIES = entries_a_piece(DTYPE), STEPS = ENTRIES / 16;
  static constexpr int KEY_ROW = kv_row_bytes(KEY, D), VALUE_ROW = kv_row_bytes(VALUE, D);
  static constexpr int KEY_WIDTH = row_width(KEY, D), VALUE_WIDTH = row_width(VALUE, D);
  static constexpr bool HAS_SCALE = kv_scale_bytes(DTYPE) > 0;
  static constexpr int PIECE_BYTES = piece_bytes(DTYPE, D);
  // Elements of a word, and of its half.
  static constexpr int KEY_A_WORD = 2 * pairs_a_word(KEY), KEY_HALF = KEY_A_WORD / 2;
  static constexpr int VALUE_A_WORD = 2 * pairs_a_word(VALUE), VALUE_HALF = VALUE_A_WORD / 2;
  // A lane's reads of a key row and of a value row: bytes at a time, how many, and elements and (after rounding of
  // fp32) words of each.
  static constexpr int KEY_BYTES = bytes_a_read(KEY_ROW / 4), KEY_READS = KEY_ROW / (4 * KEY_BYTES);
  static constexpr int VALUE_BYTES = bytes_a_read(VALUE_ROW / 8), VALUE_READS = VALUE_ROW / (8 * VALUE_BYTES);
  static constexpr int KEY_ELEMENTS = KEY_WIDTH / 4 / KEY_READS, VALUE_ELEMENTS = VALUE_WIDTH / 8 / VALUE_READS;
  static constexpr int KEY_WORDS = KEY_ELEMENTS / KEY_A_WORD,
                       VALUE_WORDS = (VALUE_ELEMENTS + VALUE_A_WORD - 1) / VALUE_A_WORD;
  static_assert(KEY_WORDS >= 1 && KEY_ELEMENTS % 4 == 0 && VALUE_ELEMENTS % 2 == 0 && D % 16 == 0);

  uint32_t query[QUERY_TILES][KEY_READS][KEY_ELEMENTS / 2];
  float out[QUERY_TILES][VALUE_WIDTH / 16][4];
  float largest[QUERY_TILES][2], sum[QUERY_TILES][2];  // of queries 2c, 2c + 1; sum: of this lane's keys

  // Outputs of a warp's row lie OUT_STRIDE floats from the next one's, with a gap every 32: stores of a warp fall on
  // different banks.
  static constexpr int OUT_STRIDE = output_stride(VALUE_WIDTH);
  static constexpr int OUT_BYTES = QUERY_TILES * 8 * OUT_STRIDE * static_cast<int>(sizeof(float));
  static __device__ __forceinline__ int out_place(int row, int element) {
    return row * OUT_STRIDE + element + element / 32 * 2;
  }

  // `queries` [rows, D], `stride` elements apart, each on a multiple of 8 bytes; queries past `rows` are zeros.
  __device__ __forceinline__ void begin(const bf16 *queries, int stride, int rows) {
    const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4;
#pragma unroll
    for (int q = 0; q < QUERY_TILES; q++) {
#pragma unroll
      for (int j = 0; j < KEY_READS; j++) {
        const int element = (4 * j + column) * KEY_ELEMENTS;
        const bf16 *from = queries + (q * 8 + row) * stride + element;
        uint32_t words[KEY_ELEMENTS / 2];
#pragma unroll
        for (int w = 0; w < KEY_ELEMENTS / 2; w += 2) {
          const bool is_there = q * 8 + row < rows && (KEY_WIDTH == D || element + 2 * w < D);
          const uint2 two = is_there ? *reinterpret_cast<const uint2 *>(from + 2 * w) : make_uint2(0, 0);
          words[w] = two.x, words[w + 1] = two.y;
        }
#pragma unroll
        for (int p = 0; p < KEY_ELEMENTS / 2; p++) {
          // Pair p in the order in which spread_word gives a key's: value i of a word's halves.
          const int low = p / KEY_HALF * KEY_A_WORD + p % KEY_HALF;
          query[q][j][p] = KEY_HALF == 1 ? words[p]
                                         : permute_bytes(words[low / 2], words[(low + KEY_HALF) / 2],
                                                         low % 2 == 0 ? 0x5410 : 0x7632);
        }
      }
#pragma unroll
      for (int t = 0; t < VALUE_WIDTH / 16; t++) {
        for (int i = 0; i < 4; i++) out[q][t][i] = 0.0f;
      }
      for (int i = 0; i < 2; i++) largest[q][i] = minus_infinity(), sum[q][i] = 0.0f;
    }
  }

  // The entries of a piece from `first` on, those before `end`; at least one.
  __device__ __forceinline__ void add(const uint8_t *piece, int first, int end) {
    const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4;
    const uint8_t *keys = piece, *values = piece + ENTRIES * KEY_ROW;
    const auto *key_scales = reinterpret_cast<const uint32_t *>(values + ENTRIES * VALUE_ROW),
               *value_scales = key_scales + ENTRIES;
    float scores[QUERY_TILES][STEPS][4];
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      for (int q = 0; q < QUERY_TILES; q++) {
        for (int i = 0; i < 4; i++) scores[q][s][i] = 0.0f;
      }
      uint32_t offset[2] = {0, 0};
      if constexpr (KEY == Dtype::int4) {
        for (int half = 0; half < 2; half++) {
          const float zero = read_zero<KEY>(key_scales[s * 16 + half * 8 + row]);
          offset[half] = int4_offset(zero, zero);
        }
      }
#pragma unroll
      for (int j = 0; j < KEY_READS; j++) {
        uint32_t pairs[2][KEY_ELEMENTS / 2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          uint32_t words[KEY_WORDS];
          read_words<KEY, KEY_ROW, KEY_BYTES>(keys, s * 16 + half * 8 + row, (4 * j + column) * KEY_BYTES, words);
#pragma unroll
          for (int w = 0; w < KEY_WORDS; w++) spread_word<KEY>(words[w], offset[half], pairs[half] + w * KEY_HALF);
        }
#pragma unroll
        for (int p = 0; p < KEY_ELEMENTS / 2; p += 2) {
          const uint32_t left[4] = {pairs[0][p], pairs[1][p], pairs[0][p + 1], pairs[1][p + 1]};
#pragma unroll
          for (int q = 0; q < QUERY_TILES; q++) mma_m16n8k16(scores[q][s], left, query[q][j][p], query[q][j][p + 1]);
        }
      }
    }
    weigh(scores, key_scales, value_scales, first, end);
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      uint32_t weights[QUERY_TILES][2];
#pragma unroll
      for (int q = 0; q < QUERY_TILES; q++) {
        for (int half = 0; half < 2; half++)
          weights[q][half] = movmatrix(pack_bf16(scores[q][s][2 * half], scores[q][s][2 * half + 1]));
      }
      uint32_t offset[2] = {0, 0};
      if constexpr (VALUE == Dtype::int4) {
        for (int half = 0; half < 2; half++) {
          const uint32_t *at = value_scales + s * 16 + half * 8 + 2 * column;
          offset[half] = int4_offset(read_zero<VALUE>(at[0]), read_zero<VALUE>(at[1]));
        }
      }
#pragma unroll
      for (int j = 0; j < VALUE_READS; j++) {
        uint32_t pairs[2][VALUE_WORDS * VALUE_A_WORD];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          uint32_t words[2][VALUE_WORDS];
          for (int i = 0; i < 2; i++) {
            read_words<VALUE, VALUE_ROW, VALUE_BYTES>(values, s * 16 + half * 8 + 2 * column + i,
                                                      (8 * j + row) * VALUE_BYTES, words[i]);
          }
#pragma unroll
          for (int w = 0; w < VALUE_WORDS; w++) {
            spread_word<VALUE>(permute_bytes(words[0][w], words[1][w], 0x5410), offset[half],
                               pairs[half] + w * VALUE_A_WORD);
            if (w * VALUE_A_WORD + VALUE_HALF < VALUE_ELEMENTS) {
              spread_word<VALUE>(permute_bytes(words[0][w], words[1][w], 0x7632), offset[half],
                                 pairs[half] + w * VALUE_A_WORD + VALUE_HALF);
            }
          }
        }
#pragma unroll
        for (int t = 0; t < VALUE_ELEMENTS / 2; t++) {
          const uint32_t left[4] = {pairs[0][2 * t], pairs[0][2 * t + 1], pairs[1][2 * t], pairs[1][2 * t + 1]};
#pragma unroll
          for (int q = 0; q < QUERY_TILES; q++)
            mma_m16n8k16(out[q][j * (VALUE_ELEMENTS / 2) + t], left, weights[q][0], weights[q][1]);
        }
      }
    }
  }

  // Scores become weights, values' scales included; what was summed so far is brought to the new largest score.
  __device__ __forceinline__ void weigh(float scores[QUERY_TILES][STEPS][4], const uint32_t *key_scales,
                                        const uint32_t *value_scales, int first, int end) {
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
        const float factor = HAS_SCALE ? scale * read_scale<KEY>(key_scales[at]) : scale;
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
        for (int lanes = 4; lanes < 32; lanes *= 2)
          top[q][i] = fmaxf(top[q][i], __shfl_xor_sync(ALL_LANES, top[q][i], lanes));
      }
      if (top[q][0] != largest[q][0] || top[q][1] != largest[q][1]) {
        // Entry `first` is seen, so tops are finite. Seldom taken once a split is under way.
        const float shrink[2] = {exp2_of(largest[q][0] - top[q][0]), exp2_of(largest[q][1] - top[q][1])};
        for (int i = 0; i < 2; i++) largest[q][i] = top[q][i], sum[q][i] *= shrink[i];
#pragma unroll
        for (int t = 0; t < VALUE_WIDTH / 16; t++) {
          for (int i = 0; i < 4; i++) out[q][t][i] *= shrink[i % 2];
        }
      }
    }
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float value_scale = HAS_SCALE ? read_scale<VALUE>(value_scales[s * 16 + half * 8 + row]) : 1.0f;
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

  // outs [rows] as out_place says, tops and sums [rows] of this warp.
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
        for (int t = 0; t < VALUE_WIDTH / 16; t++) {
          const int j = t / (VALUE_ELEMENTS / 2),
                    element = (8 * j + row) * VALUE_ELEMENTS + 2 * (t % (VALUE_ELEMENTS / 2));
          *reinterpret_cast<float2 *>(outs + out_place(at, element)) = make_float2(out[q][t][i], out[q][t][2 + i]);
        }
      }
    }
  }

  template <int ROW_BYTES>
  static __device__ __forceinline__ void copy_rows(uint8_t *to, const uint8_t *from, int valid) {
#pragma unroll
    for (int i = 0; i < ENTRIES * ROW_BYTES / 16 / 32; i++) {
      const int part = i * 32 + static_cast<int>(threadIdx.x) % 32, row = part / (ROW_BYTES / 16);
      const bool is_valid = row < valid;
      cp_async(to + PieceRows<ROW_BYTES>::offset(row, part % (ROW_BYTES / 16) * 16), from + (is_valid ? part * 16 : 0),
               is_valid);
    }
  }

  // Start the copies of a piece from `from` on: rows from `valid` on become zeros.
  static __device__ __forceinline__ void copy(uint8_t *piece, const CacheRows &from, int valid) {
    const int lane = threadIdx.x % 32;
    copy_rows<KEY_ROW>(piece, from.key, valid);
    copy_rows<VALUE_ROW>(piece + ENTRIES * KEY_ROW, from.value, valid);
    if constexpr (HAS_SCALE) {
      static_assert(ENTRIES == 32);
      auto *to = reinterpret_cast<uint32_t *>(piece + ENTRIES * (KEY_ROW + VALUE_ROW)) + lane;
      const int at = lane < valid ? lane : 0;
      cp_async_4(to, from.key_scale + at, lane < valid);
      cp_async_4(to + ENTRIES, from.value_scale + at, lane < valid);
    }
  }
};

}  // namespace duo::cuda
