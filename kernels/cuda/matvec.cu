// The weights stream through shared memory: every warp has a ring of its own there, which cp.async fills some stages
// ahead, and waits for no other warp; reading begins before the vectors are known.
// Block: 8 warps in teams of `slices`. A team takes units of 16 weight rows in turn (swiglu: 8 gate rows and their 8 up
// rows), its warps the depth's chunks of CHUNK_BYTES per row in turn. Copies ask for whole lines of 128 bytes; when they
// asked for halves, with shorter rings, 1 GB took 300 µs instead of 235 on one H200. Tensor cores: weight rows are a
// product's 16 rows, the vectors its 8 columns. A lane holds rows r and r + 8 (r = lane / 4) and reads parts c, c + 4,
// c + 8 … of 16 bytes (c = lane mod 4) of each; the vectors are read alike, so the order of the depth is free. Warps'
// sums are added in their order, a group of rounds at a time. The depth is taken in even pieces that fit shared memory
// with all vectors. With groups (core/packed_weights.h) a stage also has the chunk's scales; a group's sum of codes,
// and of the vectors where it has a minimum, are taken by tensor cores each for itself, exactly but for fp32's
// rounding, and scaled in fp32. Shared memory: rings [warps, stages, 16] of CHUNK_BYTES and scales; vectors [batch,
// piece + padding] bf16; sums [rounds, warps, 16, batch]; sums of squares [warps, batch]; the norms' scales [batch].
#include "cuda/matvec.h"

#include <algorithm>

#include "cuda/dependent_launch.h"
#include "cuda/packed_weights.h"
#include "cuda/weight_fragments.h"

namespace duo::cuda {
namespace {

constexpr int WARPS = 8, THREADS = WARPS * 32, UNIT = 16;
constexpr int CHUNK_BYTES = 256, PARTS = CHUNK_BYTES / 16, ROWS_A_COPY = 32 / PARTS, COPIES = UNIT / ROWS_A_COPY;
constexpr int VECTOR_ROUNDS = 16;             // vectors times rounds whose sums are kept before they are joined: 8 KB
constexpr int PADDING = 32;                   // elements between vectors: neighbours on other banks
constexpr int NORM_FLOATS = (WARPS + 1) * 8;  // sums of squares and scales
// Of a format: elements of 16 bytes and of a chunk's row; bytes of a stage's scales, and of a whole stage of a warp.
template <WeightFormat FORMAT>
struct StageLayout {
  static constexpr bool HAS_GROUPS = has_groups(FORMAT);
  static constexpr int STEP = FORMAT == WeightFormat::bf16 ? 8 : FORMAT == WeightFormat::int4 ? 32 : 16;
  static constexpr int CHUNK = CHUNK_BYTES / 16 * STEP;
  static constexpr int WORDS = HAS_GROUPS ? static_cast<int>(chunk_words(FORMAT)) : 0;  // of scales, per row
  static constexpr int64_t SCALE_BYTES = UNIT * WORDS * 4, STAGE_BYTES = UNIT * CHUNK_BYTES + SCALE_BYTES;
};
static_assert(CHUNK_BYTES == CHUNK_CODE_BYTES && UNIT == 2 * SCALE_ROWS, "a stage is a chunk of two blocks of rows");
// More than half of a multiprocessor's shared memory, so that it runs only one block: where two fit, blocks that start
// early (dependent_launch.h) gather on the multiprocessors that come free first.
constexpr int64_t RING_BYTES = 192 << 10;
// Elements of a piece, so that 8 vectors of it and two stages fit a block.
int64_t most_of_a_piece(const DeviceSize &device) {
  return device.shared_bytes >= 220 << 10 ? 8192 : device.shared_bytes >= 160 << 10 ? 4096 : 512;
}

// How a product is cut. Pieces and slices depend on the depth and the weights' type alone, as sums do.
struct Cut {
  int32_t slices, chunks, piece_chunks, pieces, stages, group_rounds;
  int64_t rounds, blocks;
  int64_t row_bytes;    // of weights
  int64_t other_bytes;  // shared memory besides the rings
};

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
      if (round == cut.rounds || round == group + cut.group_rounds) {
        if (++piece == cut.pieces) {
          piece = 0;
          group += cut.group_rounds;
          if (is_done(cut)) return;
        }
        round = group;
      }
      chunk = piece * cut.piece_chunks + slice;
    }
  }
};

// What an output sums over: a round of the group, a team, a vector, a row of the unit.
struct Place {
  int round, team, vector, row;
};

// Where part `part` of a chunk's row lies in a stage, so that what a quarter of a warp copies or reads falls on
// different banks.
__device__ __forceinline__ int place_in_stage(int row, int part) {
  return row * PARTS + (part ^ (row & 6) ^ (row & 1) << 2);
}

// Two rows' 16 bytes of weights times the vectors' elements of the same places. x: the lane's vector, or null for a
// column without one.
template <bool INT8>
__device__ __forceinline__ void multiply_chunk(float sum[4], const uint4 &low, const uint4 &high, const bf16 *x) {
  const uint32_t rows[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
#pragma unroll
  for (int i = 0; i < (INT8 ? 2 : 1); i++) {
    const uint4 eight = x != nullptr ? *reinterpret_cast<const uint4 *>(x + 8 * i) : make_uint4(0, 0, 0, 0);
    if constexpr (INT8) {
      uint32_t pairs[2][4];
#pragma unroll
      for (int w = 0; w < 2; w++) {
        for (int half = 0; half < 2; half++) spread_word<Dtype::int8>(rows[half][2 * i + w], 0, pairs[half] + 2 * w);
      }
      // Values 0 and 2, 1 and 3 of each four, as spread_word pairs them.
      const uint32_t first[4] = {pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]},
                     second[4] = {pairs[0][2], pairs[1][2], pairs[0][3], pairs[1][3]};
      mma_m16n8k16(sum, first, permute_bytes(eight.x, eight.y, 0x5410), permute_bytes(eight.x, eight.y, 0x7632));
      mma_m16n8k16(sum, second, permute_bytes(eight.z, eight.w, 0x5410), permute_bytes(eight.z, eight.w, 0x7632));
    } else {
      const uint32_t first[4] = {rows[0][0], rows[1][0], rows[0][1], rows[1][1]},
                     second[4] = {rows[0][2], rows[1][2], rows[0][3], rows[1][3]};
      mma_m16n8k16(sum, first, eight.x, eight.y);
      mma_m16n8k16(sum, second, eight.z, eight.w);
    }
  }
}

// A superblock of two rows times the vectors' elements of the same places. x: the superblock's elements of the lane's
// vector, or null; low_words, high_words: the superblock's words of scales of the two rows.
template <WeightFormat FORMAT>
__device__ __forceinline__ void multiply_superblock(float sum[4], const uint4 &low, const uint4 &high,
                                                    const uint32_t *low_words, const uint32_t *high_words,
                                                    const bf16 *x, int column) {
  constexpr uint32_t ONES[4] = {ONE_PAIR, ONE_PAIR, ONE_PAIR, ONE_PAIR};
  const uint32_t codes[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
  constexpr int SCALE_WORDS = FORMAT == WeightFormat::scaled8 ? 2 : 4;
  uint32_t words[2][SCALE_WORDS];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t *from = half == 0 ? low_words : high_words;
    if constexpr (SCALE_WORDS == 4) {
      const uint4 four = *reinterpret_cast<const uint4 *>(from);
      words[half][0] = four.x, words[half][1] = four.y, words[half][2] = four.z, words[half][3] = four.w;
    } else {
      const uint2 two = *reinterpret_cast<const uint2 *>(from);
      words[half][0] = two.x, words[half][1] = two.y;
    }
  }
#pragma unroll
  for (int w = 0; w < 4; w++) {
    float part[4] = {0.0f, 0.0f, 0.0f, 0.0f}, whole[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if constexpr (FORMAT == WeightFormat::int4) {
      const uint4 eight =
          x != nullptr ? *reinterpret_cast<const uint4 *>(x + 32 * w + 8 * column) : make_uint4(0, 0, 0, 0);
      const uint32_t first[4] = {spread_nibbles(codes[0][w], 0), spread_nibbles(codes[1][w], 0),
                                 spread_nibbles(codes[0][w], 1), spread_nibbles(codes[1][w], 1)};
      const uint32_t second[4] = {spread_nibbles(codes[0][w], 2), spread_nibbles(codes[1][w], 2),
                                  spread_nibbles(codes[0][w], 3), spread_nibbles(codes[1][w], 3)};
      mma_m16n8k16(part, first, eight.x, eight.y);
      mma_m16n8k16(whole, ONES, eight.x, eight.y);
      mma_m16n8k16(part, second, eight.z, eight.w);
      mma_m16n8k16(whole, ONES, eight.z, eight.w);
      const float low_scale = low_half(words[0][w]), high_scale = low_half(words[1][w]);
      add_group(sum, part, whole, low_scale, high_half(words[0][w]) - 128.0f * low_scale, high_scale,
                high_half(words[1][w]) - 128.0f * high_scale);
    } else {
      const uint2 four = x != nullptr ? *reinterpret_cast<const uint2 *>(x + 16 * w + 4 * column) : make_uint2(0, 0);
      uint32_t pairs[2][2];
#pragma unroll
      for (int half = 0; half < 2; half++) spread_word<Dtype::int8>(codes[half][w], 0, pairs[half]);
      const uint32_t tile[4] = {pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]};
      mma_m16n8k16(part, tile, four.x, four.y);
      if constexpr (FORMAT == WeightFormat::affine8) {
        mma_m16n8k16(whole, ONES, four.x, four.y);
        add_group(sum, part, whole, low_half(words[0][w]), high_half(words[0][w]), low_half(words[1][w]),
                  high_half(words[1][w]));
      } else {
        const uint32_t low_pair = words[0][w / 2], high_pair = words[1][w / 2];
        const float low_scale = w % 2 == 0 ? low_half(low_pair) : high_half(low_pair),
                    high_scale = w % 2 == 0 ? low_half(high_pair) : high_half(high_pair);
#pragma unroll
        for (int i = 0; i < 2; i++) sum[i] += low_scale * part[i], sum[2 + i] += high_scale * part[2 + i];
      }
    }
  }
}

// scales [batch] = 1 / root mean square of each hidden vector, seen by the whole block. scratch [WARPS, BATCH]. All
// vectors are read side by side, as each wait is long.
template <int BATCH>
__device__ __forceinline__ void find_norm_scales(const VectorProduct &p, float *scratch, float *scales) {
  float square[BATCH] = {};
#pragma unroll 4
  for (int64_t i = threadIdx.x * 4; i < p.depth; i += THREADS * 4) {
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      const float4 h = b < p.batch ? *reinterpret_cast<const float4 *>(p.hidden + b * p.depth + i)
                                   : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      square[b] += h.x * h.x + h.y * h.y + h.z * h.z + h.w * h.w;
    }
  }
#pragma unroll
  for (int b = 0; b < BATCH; b++) {
    const float sum = sum_warp(square[b]);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32 * BATCH + b] = sum;
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < p.batch) {
    float sum = scratch[threadIdx.x];
    for (int w = 1; w < WARPS; w++) sum += scratch[w * BATCH + threadIdx.x];
    scales[threadIdx.x] = 1.0f / sqrtf(sum / static_cast<float>(p.depth) + p.eps);
  }
  __syncthreads();
}

// Eight elements of vector b from `element` on, normed where it is hidden states; zeros past the depth.
__device__ __forceinline__ uint4 read_vector(const VectorProduct &p, int b, int64_t element, const float *scales) {
  if (b >= p.batch || element >= p.depth) return make_uint4(0, 0, 0, 0);
  const int64_t at = b * p.depth + element;
  if (p.hidden == nullptr) return *reinterpret_cast<const uint4 *>(p.x + at);
  const auto *h = reinterpret_cast<const float4 *>(p.hidden + at),
             *n = reinterpret_cast<const float4 *>(p.norm + element);
  const float4 h0 = h[0], h1 = h[1], n0 = n[0], n1 = n[1];
  const float s = scales[b];
  return make_uint4(pack_bf16(h0.x * s * n0.x, h0.y * s * n0.y), pack_bf16(h0.z * s * n0.z, h0.w * s * n0.w),
                    pack_bf16(h1.x * s * n1.x, h1.y * s * n1.y), pack_bf16(h1.z * s * n1.z, h1.w * s * n1.w));
}

// Elements begin … begin + count of all vectors to vectors [batch, stride]. Each thread has loads of up to eight pieces
// under way at a time.
template <int BATCH>
__device__ __forceinline__ void fill_vectors(const VectorProduct &p, int64_t begin, int count, bf16 *vectors,
                                             int stride, const float *scales) {
  constexpr int AT_A_TIME = BATCH == 1 ? 4 : 1;
  for (int i = static_cast<int>(threadIdx.x) * 8; i < count; i += THREADS * 8 * AT_A_TIME) {
    uint4 read[AT_A_TIME][BATCH];
#pragma unroll
    for (int j = 0; j < AT_A_TIME; j++) {
      const int at = i + j * THREADS * 8;
#pragma unroll
      for (int b = 0; b < BATCH; b++) read[j][b] = read_vector(p, b, at < count ? begin + at : p.depth, scales);
    }
#pragma unroll
    for (int j = 0; j < AT_A_TIME; j++) {
      const int at = i + j * THREADS * 8;
#pragma unroll
      for (int b = 0; b < BATCH; b++) {
        if (b < p.batch && at < count) *reinterpret_cast<uint4 *>(vectors + b * stride + at) = read[j][b];
      }
    }
  }
}

// BATCH: vectors at most, 1 or 8.
template <WeightFormat FORMAT, int BATCH>
__global__ void __launch_bounds__(THREADS, 1) vector_product_kernel(const VectorProduct p, const Cut cut) {
  using Stage = StageLayout<FORMAT>;
  constexpr bool INT8 = FORMAT == WeightFormat::int8;
  constexpr int STEP = Stage::STEP, CHUNK = Stage::CHUNK, STAGE_PARTS = static_cast<int>(Stage::STAGE_BYTES / 16);
  auto *vectors = reinterpret_cast<bf16 *>(shared_memory() + cut.stages * WARPS * Stage::STAGE_BYTES);
  const int piece_elements = cut.piece_chunks * CHUNK, stride = piece_elements + PADDING;
  float *sums = reinterpret_cast<float *>(vectors + p.batch * stride),
        *scratch = sums + cut.group_rounds * WARPS * UNIT * p.batch, *scales = scratch + WARPS * BATCH;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, column = lane % 4,
            slice = warp % cut.slices, teams = WARPS / cut.slices;
  auto *ring = reinterpret_cast<uint4 *>(shared_memory() + warp * cut.stages * Stage::STAGE_BYTES);
  const bool is_pair = p.store == VectorStore::swiglu;
  const int outputs_a_unit = is_pair ? UNIT / 2 : UNIT;
  const auto unit_of = [&](int64_t round, int team) { return (round * gridDim.x + blockIdx.x) * teams + team; };
  griddepcontrol_launch_dependents();

  Walk ahead{0, 0, 0, slice};
  const auto start_copy = [&](int stage) {
    if (!ahead.is_done(cut)) {
      const int64_t byte = static_cast<int64_t>(ahead.chunk) * CHUNK_BYTES + lane % PARTS * 16,
                    unit = unit_of(ahead.round, warp / cut.slices);
      const int64_t first = unit * outputs_a_unit + lane / PARTS;
      const uint8_t *from = static_cast<const uint8_t *>(p.weight) + first * cut.row_bytes + byte;
#pragma unroll
      for (int i = 0; i < COPIES; i++) {
        const int copied = i * ROWS_A_COPY + lane / PARTS;  // row of the unit
        if (is_pair && i == COPIES / 2) from += (p.outputs - UNIT / 2) * cut.row_bytes;
        const bool is_inside =
            byte < cut.row_bytes && first + (is_pair ? i % (COPIES / 2) : i) * ROWS_A_COPY < p.outputs;
        cp_async(ring + stage * STAGE_PARTS + place_in_stage(copied, lane % PARTS), is_inside ? from : p.weight,
                 is_inside);
        from += ROWS_A_COPY * cut.row_bytes;
      }
      if constexpr (Stage::HAS_GROUPS) {
        // The scales of 8 rows lie together, so that a warp's lanes read one run; those of a unit's second 8 rows
        // follow in the stage.
        constexpr int BLOCK_PARTS = static_cast<int>(Stage::SCALE_BYTES / 32);  // of 16 bytes
#pragma unroll
        for (int i = lane; i < 2 * BLOCK_PARTS; i += 32) {
          const int half = i / BLOCK_PARTS;
          const int64_t block = is_pair ? unit + half * (p.outputs / SCALE_ROWS) : 2 * unit + half;
          const bool is_inside = (is_pair ? unit : block) * SCALE_ROWS < p.outputs;
          const uint32_t *words = p.scales + ((block * cut.chunks + ahead.chunk) * BLOCK_PARTS + i % BLOCK_PARTS) * 4;
          cp_async(ring + stage * STAGE_PARTS + UNIT * PARTS + i, is_inside ? words : p.scales, is_inside);
        }
      }
      ahead.advance(cut, slice);
    }
    cp_async_commit_group();  // an empty group too, so that counting groups is counting chunks
  };
  for (int stage = 0; stage < cut.stages - 1; stage++) start_copy(stage);
  if (p.hidden != nullptr) {
    for (int64_t i = threadIdx.x * 32; i < p.depth; i += THREADS * 32) load_line(p.norm + i);
  }
  griddepcontrol_wait();
  if (p.hidden != nullptr) find_norm_scales<BATCH>(p, scratch, scales);

  int stage = 0;
  for (int64_t group = 0; group < cut.rounds; group += cut.group_rounds) {
    const int64_t group_end = group + cut.group_rounds < cut.rounds ? group + cut.group_rounds : cut.rounds;
    const int count = static_cast<int>(group_end - group) * teams * outputs_a_unit * p.batch;
    const auto place_of = [&](int i) {
      return Place{i / (outputs_a_unit * teams * p.batch), i / outputs_a_unit % teams,
                   i / (outputs_a_unit * teams) % p.batch, i % outputs_a_unit};
    };
    const auto output_of = [&](const Place &at) {
      return unit_of(group + at.round, at.team) * outputs_a_unit + at.row;
    };
    // What a thread's first output is added to, asked for ahead of the products: it would be waited for at their end.
    float residual = 0.0f;
    if (p.store == VectorStore::add_f32 && static_cast<int>(threadIdx.x) < count) {
      const Place at = place_of(static_cast<int>(threadIdx.x));
      if (output_of(at) < p.outputs)
        residual = static_cast<const float *>(p.out)[at.vector * p.outputs + output_of(at)];
    }
    for (int piece = 0; piece < cut.pieces; piece++) {
      if (cut.pieces > 1 || group == 0) {
        if (piece > 0 || group > 0) __syncthreads();  // nobody reads the last piece any more
        fill_vectors<BATCH>(p, static_cast<int64_t>(piece) * piece_elements, piece_elements, vectors, stride, scales);
        __syncthreads();
      }
      const int piece_begin = piece * cut.piece_chunks,
                piece_end = piece_begin + cut.piece_chunks < cut.chunks ? piece_begin + cut.piece_chunks : cut.chunks;
      for (int64_t round = group; round < group_end; round++) {
        float sum[2][4] = {{0.0f, 0.0f, 0.0f, 0.0f}, {0.0f, 0.0f, 0.0f, 0.0f}};
        for (int chunk = piece_begin + slice; chunk < piece_end; chunk += cut.slices) {
          wait_copies_left(cut.stages - 2);
          __syncwarp();  // all lanes' copies have landed, and all lanes have left the stage that is filled next
          start_copy(stage == 0 ? cut.stages - 1 : stage - 1);
          const uint4 *weights = ring + stage * STAGE_PARTS;
          const bf16 *x = row < p.batch ? vectors + row * stride + (chunk - piece_begin) * CHUNK : nullptr;
#pragma unroll
          for (int j = 0; j < PARTS / 4; j++) {
            const uint4 low = weights[place_in_stage(row, 4 * j + column)],
                        high = weights[place_in_stage(row + 8, 4 * j + column)];
            if constexpr (Stage::HAS_GROUPS) {
              const auto *words = reinterpret_cast<const uint32_t *>(weights + UNIT * PARTS) + row * Stage::WORDS +
                                  j * (Stage::WORDS / 4);
              multiply_superblock<FORMAT>(sum[j % 2], low, high, words, words + SCALE_ROWS * Stage::WORDS,
                                          x != nullptr ? x + 4 * j * STEP : nullptr, column);
            } else {
              multiply_chunk<INT8>(sum[j % 2], low, high, x != nullptr ? x + (4 * j + column) * STEP : nullptr);
            }
          }
          stage = stage + 1 == cut.stages ? 0 : stage + 1;
        }
        float *to = sums + ((round - group) * WARPS + warp) * UNIT * p.batch;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int b = 2 * column + i % 2;
          if (b >= p.batch) continue;
          float &kept = to[(row + i / 2 * 8) * p.batch + b];
          const float total = sum[0][i] + sum[1][i];
          kept = piece == 0 ? total : kept + total;
        }
      }
    }
    __syncthreads();
    // Join the slices and store: one thread per output.
    for (int i = static_cast<int>(threadIdx.x); i < count; i += THREADS) {
      const Place from = place_of(i);
      const int64_t output = output_of(from);
      if (output >= p.outputs) continue;
      const auto total = [&](int row_of_unit, int64_t weight_row) {
        float value = 0.0f;
        for (int s = 0; s < cut.slices; s++)
          value +=
              sums[((from.round * WARPS + from.team * cut.slices + s) * UNIT + row_of_unit) * p.batch + from.vector];
        if (INT8) value *= p.row_scale[weight_row];
        return p.bias != nullptr ? value + p.bias[weight_row] : value;
      };
      const float value = total(from.row, output);
      const int64_t at = from.vector * p.outputs + output;
      if (p.store == VectorStore::swiglu) {
        static_cast<bf16 *>(p.out)[at] =
            narrow(value / (1.0f + expf(-value)) * total(from.row + 8, output + p.outputs));
      } else if (p.store == VectorStore::bf16) {
        static_cast<bf16 *>(p.out)[at] = narrow(value);
      } else if (p.store == VectorStore::f32) {
        static_cast<float *>(p.out)[at] = value;
        if (p.first_bad != nullptr && !is_finite(value)) lower(p.first_bad + from.vector, static_cast<int32_t>(output));
      } else {
        auto *sum = static_cast<float *>(p.out) + at;
        *sum = (i < THREADS ? residual : *sum) + value;
      }
    }
    if (group_end < cut.rounds) __syncthreads();  // sums are free again
  }
}

template <WeightFormat FORMAT>
Cut cut_of(const VectorProduct &p) {
  using Stage = StageLayout<FORMAT>;
  constexpr int64_t chunk = Stage::CHUNK;
  Cut cut{};
  const int64_t stage_bytes = WARPS * Stage::STAGE_BYTES;
  cut.row_bytes = Stage::HAS_GROUPS ? PackedShape{FORMAT, 1, p.depth}.row_bytes() : p.depth * 16 / Stage::STEP;
  cut.chunks = static_cast<int32_t>(ceil_divide(p.depth, chunk));
  cut.pieces = static_cast<int32_t>(ceil_divide(cut.chunks, most_of_a_piece(p.device) / chunk));
  cut.piece_chunks = static_cast<int32_t>(ceil_divide(cut.chunks, cut.pieces));
  // As many warps along the depth as share it with a seventh of their time lost at most.
  cut.slices = WARPS;
  while (cut.slices > 1 && ceil_divide(cut.piece_chunks, cut.slices) * cut.slices * 7 > cut.piece_chunks * 8)
    cut.slices /= 2;
  cut.group_rounds = std::max(1, VECTOR_ROUNDS / p.batch);
  cut.other_bytes = p.batch * (cut.piece_chunks * chunk + PADDING) * static_cast<int64_t>(sizeof(bf16)) +
                    (cut.group_rounds * WARPS * UNIT * p.batch + NORM_FLOATS) * static_cast<int64_t>(sizeof(float));
  const int64_t room = (p.device.shared_bytes - cut.other_bytes) / stage_bytes,
                wish = p.stages > 0 ? p.stages : RING_BYTES / stage_bytes;
  cut.stages = static_cast<int32_t>(std::max<int64_t>(2, std::min<int64_t>({wish, room, MAX_STAGES})));
  const int64_t teams = WARPS / cut.slices,
                units = ceil_divide(p.outputs, p.store == VectorStore::swiglu ? UNIT / 2 : UNIT);
  // No more blocks than these rounds need: multiprocessors on which the kernel before this one ends last then get none,
  // so that no block waits for them.
  cut.rounds = ceil_divide(units, teams * p.blocks_a_multiprocessor * int64_t{p.device.multiprocessors});
  cut.blocks = ceil_divide(units, teams * cut.rounds);
  return cut;
}

template <WeightFormat FORMAT, int BATCH>
cudaError_t launch_type(const VectorProduct &p, cudaStream_t stream) {
  const Cut cut = cut_of<FORMAT>(p);
  const Grid grid{dim3(static_cast<unsigned>(cut.blocks)), THREADS,
                  static_cast<size_t>(cut.stages * WARPS * StageLayout<FORMAT>::STAGE_BYTES + cut.other_bytes)};
  if (static_cast<int64_t>(grid.shared_bytes) > p.device.shared_bytes) return cudaErrorInvalidValue;
  return p.is_dependent ? launch_dependent(grid, stream, vector_product_kernel<FORMAT, BATCH>, p, cut)
                        : launch(grid, stream, vector_product_kernel<FORMAT, BATCH>, p, cut);
}
template <WeightFormat FORMAT>
cudaError_t launch_format(const VectorProduct &p, cudaStream_t stream) {
  constexpr bool HAS_GROUPS = has_groups(FORMAT);
  const int64_t step = HAS_GROUPS ? 32 : StageLayout<FORMAT>::STEP;
  if (p.depth % step != 0 || (HAS_GROUPS && p.store == VectorStore::swiglu && p.outputs % SCALE_ROWS != 0))
    return cudaErrorInvalidValue;
  return p.batch == 1 ? launch_type<FORMAT, 1>(p, stream) : launch_type<FORMAT, 8>(p, stream);
}

}  // namespace

cudaError_t launch_vector_product(const VectorProduct &p, cudaStream_t stream) {
  if (p.blocks_a_multiprocessor < 1 || p.device.multiprocessors < 1 || p.batch < 1 || p.batch > 8)
    return cudaErrorInvalidValue;
  switch (p.format) {
    case WeightFormat::bf16: return launch_format<WeightFormat::bf16>(p, stream);
    case WeightFormat::int8: return launch_format<WeightFormat::int8>(p, stream);
    case WeightFormat::int4: return launch_format<WeightFormat::int4>(p, stream);
    case WeightFormat::scaled8: return launch_format<WeightFormat::scaled8>(p, stream);
    case WeightFormat::affine8: return launch_format<WeightFormat::affine8>(p, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace duo::cuda
