// Products with weights in quantised blocks (core/gguf_blocks.h), as a table of functions for each instruction set.
// Weights lie in panels of PANEL_ROWS weight rows side by side (cpu/block_panels.h), so that a vector's lanes are rows
// of the weights and no sum runs across lanes.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace duo {

constexpr int64_t PANEL_ROWS = 16;   // weight rows of a panel
constexpr int64_t DEPTH_CHUNK = 32;  // neighbours of the depth that are unpacked together; scale of an activation block
constexpr int64_t SUPER_CHUNKS = 8;  // chunks of a block of 256

// How the codes and scales of one type are stored: a weight is scale·(code − zero), or scale·code + minimum where
// groups have minima.
struct BlockFormat {
  int low_bits, high_bits;  // code = low plane | high plane << low_bits
  int zero;
  bool has_min;
  bool is_nested;  // scales and minima are int8 times one float16 for each 256 elements; else float16 for each 32
  int group;       // elements that share a scale: 32 or 16
};

// Codes of Q8_0 are stored as q + 128.
constexpr BlockFormat block_format(Dtype dtype) {
  switch (dtype) {
    case Dtype::q4_0: return {4, 0, 8, false, false, 32};
    case Dtype::q4_1: return {4, 0, 0, true, false, 32};
    case Dtype::q5_0: return {4, 1, 16, false, false, 32};
    case Dtype::q5_1: return {4, 1, 0, true, false, 32};
    case Dtype::q2_k: return {2, 0, 0, true, true, 16};
    case Dtype::q3_k: return {2, 1, 4, false, true, 16};
    case Dtype::q4_k: return {4, 0, 0, true, true, 32};
    case Dtype::q5_k: return {4, 1, 0, true, true, 32};
    case Dtype::q6_k: return {4, 2, 32, false, true, 16};
    default: return {8, 0, 128, false, false, 32};  // q8_0
  }
}

// Bytes of one chunk of a panel: all code planes.
constexpr int64_t chunk_code_bytes(const BlockFormat &format) {
  return PANEL_ROWS * DEPTH_CHUNK * (format.low_bits + format.high_bits) / 8;
}

// Bytes of the scales of one chunk (nested: of one block of 256).
constexpr int64_t scale_bytes(const BlockFormat &format) {
  const int64_t fields = format.has_min ? 2 : 1;
  return format.is_nested ? fields * PANEL_ROWS * (2 + SUPER_CHUNKS * DEPTH_CHUNK / format.group)
                          : fields * PANEL_ROWS * 2;
}

// One panel. codes: chunk by chunk; the low plane as vectors of 64 bytes (row-major [row][4]: four neighbours of the
// depth for each row), where 8/low_bits steps of four share a vector, the first in the lowest bits; then the high plane
// likewise. scales: float16 [row], then float16 minima [row], for each chunk; nested: float16 [row] and minima for each
// 256 elements, then for each group int8 scales [row] and int8 minima [row].
struct BlockPanel {
  Dtype dtype;
  const uint8_t *codes, *scales;
};

// Rows of activations as int8 in blocks of DEPTH_CHUNK: x ≈ scale·code.
struct Int8Rows {
  const int8_t *codes;  // [rows, depth]
  const float *scales;  // [rows, depth/32]: largest magnitude over 127
  const float *sums;    // [rows, depth/16]: sum of the codes of each half block
  int64_t depth;
};

// Rows of fp32 activations.
struct F32Rows {
  const float *values;  // [rows, depth], rows `stride` apart
  int64_t stride;
  const float *sums;  // [rows, depth/16]: sum of each 16 neighbours
  int64_t depth;
};

struct BlockOps {
  const char *name;  // "plain", "avx2", "avx-vnni", "avx512", "avx512-vnni", "neon", "neon-dotprod"

  // One row of `depth` values, a multiple of DEPTH_CHUNK. A NaN or infinity makes the scale of its block NaN.
  void (*quantize)(const float *x, int64_t depth, int8_t *codes, float *scales, float *sums);

  // y[r·y_stride + i] = (or +=) ⟨x_r, weight row i⟩ for r < rows and i < columns <= PANEL_ROWS. int32 sums within a
  // group, fp32 over groups; a row's bits do not depend on `rows`.
  void (*multiply_int8)(const BlockPanel &panel, const Int8Rows &x, int64_t rows, float *y, int64_t y_stride,
                        int64_t columns, bool accumulate);
  // sums[i] = sum of x[16i … 16i + 15], count a multiple of 16.
  void (*sum_sixteens)(const float *x, int64_t count, float *sums);
  // multiply_int8 for fp32 activations.
  void (*multiply_f32)(const BlockPanel &panel, const F32Rows &x, int64_t rows, float *y, int64_t y_stride,
                       int64_t columns, bool accumulate);
  // out[k·stride + i] = fp32 weight of row i at depth begin + k, for k < length, i < PANEL_ROWS; begin and length
  // multiples of DEPTH_CHUNK.
  void (*dequantize)(const BlockPanel &panel, int64_t begin, int64_t length, float *out, int64_t stride);
};

// Null where the compiler or architecture cannot build it.
const BlockOps *block_ops_plain();
const BlockOps *block_ops_avx2();
const BlockOps *block_ops_avx_vnni();
const BlockOps *block_ops_avx512();
const BlockOps *block_ops_avx512_vnni();
const BlockOps *block_ops_neon();
const BlockOps *block_ops_neon_dotprod();

}  // namespace duo
