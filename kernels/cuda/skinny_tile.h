// A step of the skinny product (skinny_product.cu): where codes, scales and vectors lie in a stage, their copies, and
// their product by tensor cores. Weight rows are a product's 16 rows, the vectors its 8 columns, so that a lane's
// registers hold codes as they are stored; a lane holds rows r and r + 8 (r = lane / 4) and reads parts c, c + 4
// (c = lane mod 4) of 16 bytes of each; the vectors are read alike, so the order of the depth is free. 16-byte parts
// lie where eight lanes that read together meet all banks.
#pragma once
#include "cuda/matvec.h"
#include "cuda/packed_weights.h"
#include "cuda/weight_fragments.h"

namespace duo::cuda {

namespace skinny {

constexpr int WARPS = 8, THREADS = WARPS * 32, WARP_ROWS = 32, TILE_ROWS = WARPS * WARP_ROWS, UNIT = 16;
constexpr int STEP_BYTES = 128, PARTS = STEP_BYTES / 16, SUPERBLOCKS = STEP_BYTES / static_cast<int>(SUPERBLOCK_BYTES);
constexpr int STEPS_A_CHUNK = static_cast<int>(CHUNK_CODE_BYTES) / STEP_BYTES;
// Of a format: what a step of a row holds, and where it lies in a stage.
template <WeightFormat FORMAT, int VECTORS>
struct StepLayout {
  static constexpr bool HAS_GROUPS = has_groups(FORMAT),
                        HAS_MINIMUM = FORMAT == WeightFormat::int4 || FORMAT == WeightFormat::affine8;
  static constexpr int ELEMENTS = FORMAT == WeightFormat::bf16 ? 64 : FORMAT == WeightFormat::int4 ? 256 : 128;
  static constexpr int WORDS = HAS_GROUPS ? static_cast<int>(chunk_words(FORMAT)) / STEPS_A_CHUNK : 0;  // of scales
  static constexpr int GROUPS = HAS_MINIMUM ? WORDS : 0;  // whose vectors' sums are needed
  static constexpr int SCALE_PARTS = WORDS / 4, VECTOR_PARTS = ELEMENTS / 8;
  static constexpr int CODES = TILE_ROWS * PARTS, SCALES = TILE_ROWS * SCALE_PARTS;  // parts of a stage
  static constexpr int STAGE = CODES + SCALES + VECTORS * VECTOR_PARTS;
  static constexpr int64_t STAGE_BYTES = int64_t{16} * STAGE, SUM_BYTES = int64_t{4} * GROUPS * VECTORS;
  // Flips bits of a part's index by its vector.
  static __device__ __forceinline__ int twist(int vector) {
    return FORMAT == WeightFormat::int8                                         ? vector & 1
           : FORMAT == WeightFormat::scaled8 || FORMAT == WeightFormat::affine8 ? (vector & 3) << 1
                                                                                : (vector & 1) << 2;
  }
};

struct Cut {
  int32_t splits, steps, stages;
  int64_t items, blocks;  // items: tiles times splits
  int64_t row_bytes, chunks;
};

// A block's way through its items and their steps.
struct Walk {
  int64_t item;
  int32_t step, end;

  static __device__ __forceinline__ Walk from(const Cut &cut, int64_t item) {
    const auto split = static_cast<int32_t>(item % cut.splits);
    return {item, split * cut.steps / cut.splits, (split + 1) * cut.steps / cut.splits};
  }
  __device__ __forceinline__ void advance(const Cut &cut) {
    if (++step == end) *this = from(cut, item + gridDim.x);
  }
};

// Where a tile's rows lie in the matrix.
struct TileRows {
  int64_t first;  // output
  int64_t outputs;
  bool is_pair;

  __device__ __forceinline__ TileRows(const VectorProduct &p, int64_t tile)
      : first(tile * (p.store == VectorStore::swiglu ? TILE_ROWS / 2 : TILE_ROWS)),
        outputs(p.outputs),
        is_pair(p.store == VectorStore::swiglu) {}
  __device__ __forceinline__ int64_t output_of(int row) const {
    return first + (is_pair ? row / UNIT * (UNIT / 2) + row % (UNIT / 2) : row);
  }
  __device__ __forceinline__ bool has(int row) const { return output_of(row) < outputs; }
  // Row of the matrix.
  __device__ __forceinline__ int64_t operator()(int row) const {
    return output_of(row) + (is_pair && row % UNIT >= UNIT / 2 ? outputs : 0);
  }
};

// Where part `part` of a row's codes lies in a stage.
__device__ __forceinline__ int place_of_code(int row, int part) { return row * PARTS + (part ^ (row & 1) << 2); }

template <WeightFormat FORMAT, int VECTORS>
__device__ __forceinline__ void copy_weights(const VectorProduct &p, const Cut &cut, const Walk &at, uint4 *stage) {
  using Layout = StepLayout<FORMAT, VECTORS>;
  constexpr int ROWS_A_COPY = THREADS / PARTS;
  const TileRows rows(p, at.item / cut.splits);
  const int part = threadIdx.x % PARTS;
  const int64_t byte = static_cast<int64_t>(at.step) * STEP_BYTES + part * 16;
#pragma unroll
  for (int i = 0; i < TILE_ROWS / ROWS_A_COPY; i++) {
    const int row = i * ROWS_A_COPY + static_cast<int>(threadIdx.x) / PARTS;
    const bool is_inside = rows.has(row) && byte < cut.row_bytes;
    const auto *from = static_cast<const uint8_t *>(p.weight) + (is_inside ? rows(row) * cut.row_bytes + byte : 0);
    cp_async(stage + place_of_code(row, part), from, is_inside);
  }
  if constexpr (Layout::HAS_GROUPS) {
    // Part `part` of a row's scales (of a superblock, if a step has two parts) lies next to those of the other rows.
#pragma unroll
    for (int i = 0; i < Layout::SCALE_PARTS; i++) {
      const int at_part = i * THREADS + static_cast<int>(threadIdx.x), row = at_part / Layout::SCALE_PARTS,
                scale_part = at_part % Layout::SCALE_PARTS;
      const int64_t matrix_row = rows(row),
                    words = ((matrix_row / SCALE_ROWS * cut.chunks + at.step / STEPS_A_CHUNK) * SCALE_ROWS +
                             matrix_row % SCALE_ROWS) *
                                STEPS_A_CHUNK +
                            at.step % STEPS_A_CHUNK;
      const bool is_inside = rows.has(row);
      cp_async(stage + Layout::CODES + scale_part * TILE_ROWS + row,
               p.scales + (is_inside ? words * Layout::WORDS + 4 * scale_part : 0), is_inside);
    }
  }
}

template <WeightFormat FORMAT, int VECTORS>
__device__ __forceinline__ void copy_vectors(const VectorProduct &p, const Walk &at, uint4 *stage) {
  using Layout = StepLayout<FORMAT, VECTORS>;
#pragma unroll
  for (int first = 0; first < VECTORS * Layout::VECTOR_PARTS; first += THREADS) {
    const int i = first + static_cast<int>(threadIdx.x), vector = i / Layout::VECTOR_PARTS,
              part = i % Layout::VECTOR_PARTS;
    if (i >= VECTORS * Layout::VECTOR_PARTS) break;
    const int64_t element = static_cast<int64_t>(at.step) * Layout::ELEMENTS + part * 8;
    const bool is_inside = vector < p.batch && element < p.depth;
    cp_async(stage + Layout::CODES + Layout::SCALES + vector * Layout::VECTOR_PARTS + (part ^ Layout::twist(vector)),
             p.x + (is_inside ? vector * p.depth + element : 0), is_inside);
  }
}

// Part `part` of vector lane / 4 of the eight from 8·tile on; or, of 16-bit elements 4·half on, half of it.
template <typename Layout>
__device__ __forceinline__ uint4 read_part(const uint4 *x, int tile, int part) {
  const int vector = 8 * tile + static_cast<int>(threadIdx.x) % 32 / 4;
  return x[vector * Layout::VECTOR_PARTS + (part ^ Layout::twist(vector))];
}
template <typename Layout>
__device__ __forceinline__ uint2 read_half_part(const uint4 *x, int tile, int part, int half) {
  const int vector = 8 * tile + static_cast<int>(threadIdx.x) % 32 / 4;
  return reinterpret_cast<const uint2 *>(x + vector * Layout::VECTOR_PARTS + (part ^ Layout::twist(vector)))[half];
}

// sums [GROUPS, VECTORS] = of each group of a step, the sum of each vector's elements. By all warps; a barrier must
// follow.
template <WeightFormat FORMAT, int VECTORS>
__device__ __forceinline__ void sum_groups(const uint4 *x, float *sums) {
  using Layout = StepLayout<FORMAT, VECTORS>;
  constexpr uint32_t ONES[4] = {ONE_PAIR, ONE_PAIR, ONE_PAIR, ONE_PAIR};
  constexpr int TILES = VECTORS / 8;
  const int lane = threadIdx.x % 32, column = lane % 4;
#pragma unroll
  for (int job = 0; job < TILES * Layout::GROUPS; job += WARPS) {
    const int tile = (job + static_cast<int>(threadIdx.x) / 32) % TILES,
              group = (job + static_cast<int>(threadIdx.x) / 32) / TILES;
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if constexpr (FORMAT == WeightFormat::int4) {
      const uint4 eight = read_part<Layout>(x, tile, 4 * group + column);
      mma_m16n8k16(sum, ONES, eight.x, eight.y);
      mma_m16n8k16(sum, ONES, eight.z, eight.w);
    } else {
      const uint2 four = read_half_part<Layout>(x, tile, 2 * group + column / 2, column % 2);
      mma_m16n8k16(sum, ONES, four.x, four.y);
    }
    if (lane < 4)
      *reinterpret_cast<float2 *>(sums + group * VECTORS + 8 * tile + 2 * lane) = make_float2(sum[0], sum[1]);
  }
}

// sum [row half of the warp][8 vectors][fragment] += the warp's rows of a step times the vectors.
template <WeightFormat FORMAT, int VECTORS>
__device__ __forceinline__ void multiply_step(float sum[2][VECTORS / 8][4], const uint4 *stage, const float *sums) {
  using Layout = StepLayout<FORMAT, VECTORS>;
  constexpr int TILES = VECTORS / 8;
  const int lane = threadIdx.x % 32, column = lane % 4;
  const uint4 *scales = stage + Layout::CODES, *x = scales + Layout::SCALES;
  const auto row_of = [&](int m, int half) {
    return static_cast<int>(threadIdx.x) / 32 * WARP_ROWS + 16 * m + 8 * half + lane / 4;
  };
#pragma unroll 1  // one at a time: two side by side would not fit the registers with 64 vectors' sums
  for (int block = 0; block < SUPERBLOCKS; block++) {
    uint32_t codes[2][2][4];  // of the lane's rows, [m][half]
#pragma unroll
    for (int m = 0; m < 2; m++) {
      for (int half = 0; half < 2; half++) {
        const uint4 part = stage[place_of_code(row_of(m, half), 4 * block + column)];
        codes[m][half][0] = part.x, codes[m][half][1] = part.y, codes[m][half][2] = part.z, codes[m][half][3] = part.w;
      }
    }
    if constexpr (FORMAT == WeightFormat::bf16) {
#pragma unroll
      for (int n = 0; n < TILES; n++) {
        const uint4 eight = read_part<Layout>(x, n, 4 * block + column);
        for (int m = 0; m < 2; m++) {
          const auto &[low, high] = codes[m];
          const uint32_t first[4] = {low[0], high[0], low[1], high[1]}, second[4] = {low[2], high[2], low[3], high[3]};
          mma_m16n8k16(sum[m][n], first, eight.x, eight.y);
          mma_m16n8k16(sum[m][n], second, eight.z, eight.w);
        }
      }
    } else if constexpr (FORMAT == WeightFormat::int8) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        uint32_t tiles[2][2][4];  // [m][first, second]: values 0 and 2, 1 and 3 of each four, as spread_word pairs them
#pragma unroll
        for (int m = 0; m < 2; m++) {
          for (int half = 0; half < 2; half++) {
            for (int w = 0; w < 2; w++) {
              uint32_t pairs[2];
              spread_word<Dtype::int8>(codes[m][half][2 * i + w], 0, pairs);
              tiles[m][w][half] = pairs[0], tiles[m][w][2 + half] = pairs[1];
            }
          }
        }
#pragma unroll
        for (int n = 0; n < TILES; n++) {
          const uint4 eight = read_part<Layout>(x, n, 8 * block + 2 * column + i);
          const uint32_t b[4] = {permute_bytes(eight.x, eight.y, 0x5410), permute_bytes(eight.x, eight.y, 0x7632),
                                 permute_bytes(eight.z, eight.w, 0x5410), permute_bytes(eight.z, eight.w, 0x7632)};
          for (int m = 0; m < 2; m++) {
            mma_m16n8k16(sum[m][n], tiles[m][0], b[0], b[1]);
            mma_m16n8k16(sum[m][n], tiles[m][1], b[2], b[3]);
          }
        }
      }
    } else {
      constexpr int WORDS = Layout::WORDS / SUPERBLOCKS;
      uint32_t words[2][2][WORDS];  // of scales
#pragma unroll
      for (int m = 0; m < 2; m++) {
        for (int half = 0; half < 2; half++) {
          if constexpr (WORDS == 4) {
            const uint4 four = scales[block * TILE_ROWS + row_of(m, half)];
            words[m][half][0] = four.x, words[m][half][1] = four.y, words[m][half][2] = four.z,
            words[m][half][3] = four.w;
          } else {
            const uint2 two = reinterpret_cast<const uint2 *>(scales + row_of(m, half))[block];
            words[m][half][0] = two.x, words[m][half][1] = two.y;
          }
        }
      }
#pragma unroll
      for (int w = 0; w < 4; w++) {
        uint32_t tiles[2][2][4];  // [m][first, second]; of 8 bits one
        float scale[2][2], minimum[2][2];
#pragma unroll
        for (int m = 0; m < 2; m++) {
          for (int half = 0; half < 2; half++) {
            const uint32_t word = codes[m][half][w];
            if constexpr (FORMAT == WeightFormat::int4) {
              for (int pair = 0; pair < 4; pair++) tiles[m][pair / 2][pair % 2 * 2 + half] = spread_nibbles(word, pair);
              scale[m][half] = low_half(words[m][half][w]);
              minimum[m][half] = high_half(words[m][half][w]) - 128.0f * scale[m][half];
            } else {
              uint32_t pairs[2];
              spread_word<Dtype::int8>(word, 0, pairs);
              tiles[m][0][half] = pairs[0], tiles[m][0][2 + half] = pairs[1];
              if constexpr (FORMAT == WeightFormat::affine8) {
                scale[m][half] = low_half(words[m][half][w]), minimum[m][half] = high_half(words[m][half][w]);
              } else {
                const uint32_t two = words[m][half][w / 2];
                scale[m][half] = w % 2 == 0 ? low_half(two) : high_half(two);
              }
            }
          }
        }
#pragma unroll
        for (int n = 0; n < TILES; n++) {
          float part[2][4] = {};
          if constexpr (FORMAT == WeightFormat::int4) {
            const uint4 eight = read_part<Layout>(x, n, 16 * block + 4 * w + column);
            for (int m = 0; m < 2; m++) mma_m16n8k16(part[m], tiles[m][0], eight.x, eight.y);
            for (int m = 0; m < 2; m++) mma_m16n8k16(part[m], tiles[m][1], eight.z, eight.w);
          } else {
            const uint2 four = read_half_part<Layout>(x, n, 8 * block + 2 * w + column / 2, column % 2);
            for (int m = 0; m < 2; m++) mma_m16n8k16(part[m], tiles[m][0], four.x, four.y);
          }
          if constexpr (Layout::HAS_MINIMUM) {
            const float2 two = *reinterpret_cast<const float2 *>(sums + (4 * block + w) * VECTORS + 8 * n + 2 * column);
            const float ones[2] = {two.x, two.y};
            for (int m = 0; m < 2; m++)
              add_group(sum[m][n], part[m], ones, scale[m][0], minimum[m][0], scale[m][1], minimum[m][1]);
          } else {
            for (int m = 0; m < 2; m++) {
              for (int i = 0; i < 4; i++) sum[m][n][i] += scale[m][i / 2] * part[m][i];
            }
          }
        }
      }
    }
  }
}

}  // namespace skinny
}  // namespace duo::cuda
