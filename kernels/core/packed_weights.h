// Weights in 4 and 8 bits as CUDA's products read them: codes row by row, and separately the scales of their groups.
// GGUF blocks are laid out anew here, on the host, with a single change of value: products of a K-quant's two scales
// are rounded to fp16 (2^-12, an eighth of bf16's rounding).
//
// Codes: a superblock is 64 bytes of a row, 128 elements of 4 bits or 64 of 8. It is what the four lanes c of a tensor
// core's row take 16 bytes each of; word w of lane c lies at byte 16c + 4w and holds, of 4 bits, elements 32w + 8c … +
// 7 (element i in nibble i / 2 + 4·(i mod 2), so that one shift and mask gives a pair), of 8 bits, elements 16w + 4c …
// + 3 (element i in byte 2·(i mod 2) + i / 2, likewise). Rows end with whole superblocks. Scales: 32-bit words of two
// fp16, those of a chunk (256 bytes of codes) of 8 rows together: [⌈rows / 8⌉, chunks, 8, words per chunk]. What lies
// past the columns or the rows is zero.
#pragma once
#include <cstdint>
#include <vector>

#include "core/gguf_blocks.h"

namespace duo {

enum class WeightFormat : int32_t {
  bf16,
  int8,     // 8 bits, an fp32 scale per row; codes as the columns come
  int4,     // 4 bits, 0 … 15; a word (scale, minimum) for 32 elements: scale·code + minimum
  scaled8,  // 8 bits, signed; a word for 32 elements, the scales of their two sixteens: scale·code
  affine8,  // 8 bits, signed; a word (scale, minimum) for 16 elements: scale·code + minimum
};

constexpr int64_t CHUNK_CODE_BYTES = 256, SUPERBLOCK_BYTES = 64, SCALE_ROWS = 8;

constexpr bool has_groups(WeightFormat format) {
  return format == WeightFormat::int4 || format == WeightFormat::scaled8 || format == WeightFormat::affine8;
}
// Elements of a superblock, elements of a word of scales, and words of a chunk; of formats with groups.
constexpr int64_t superblock_elements(WeightFormat format) { return format == WeightFormat::int4 ? 128 : 64; }
constexpr int64_t word_elements(WeightFormat format) { return format == WeightFormat::affine8 ? 16 : 32; }
constexpr int64_t chunk_words(WeightFormat format) {
  return CHUNK_CODE_BYTES / SUPERBLOCK_BYTES * superblock_elements(format) / word_elements(format);
}

// Sizes of a matrix in a format with groups. Columns are a multiple of 32.
struct PackedShape {
  WeightFormat format;
  int64_t rows, columns;
  int64_t row_bytes() const {
    return (columns + superblock_elements(format) - 1) / superblock_elements(format) * SUPERBLOCK_BYTES;
  }
  int64_t chunks() const { return (row_bytes() + CHUNK_CODE_BYTES - 1) / CHUNK_CODE_BYTES; }
  int64_t row_words() const { return chunks() * chunk_words(format); }
  int64_t code_bytes() const { return rows * row_bytes(); }
  int64_t scale_words() const { return (rows + SCALE_ROWS - 1) / SCALE_ROWS * SCALE_ROWS * row_words(); }
};

// The format that keeps blocks of `dtype`; bf16 for dtypes that are no blocks.
WeightFormat format_of_blocks(Dtype dtype);
// The format that keeps the rows of several tensors in one matrix: that of all; affine8 where they differ, bf16 where
// one is no blocks.
WeightFormat join_formats(const std::vector<Dtype> &dtypes);

// Rows of blocks of `dtype` to a format that keeps them: its own, or affine8. `shape.rows` rows from the first of a
// matrix or from a multiple of 8.
//   from [rows, columns] blocks      codes [code_bytes], scales [scale_words], written
// False if a scale or minimum passes fp16's range.
bool pack_blocks(Dtype dtype, const PackedShape &shape, const uint8_t *from, uint8_t *codes, uint32_t *scales);

// out[i] = the value of element i of row `row` for all columns, exact in double but for fp32's range. Tests compare
// every product with it.
void unpack_row(const PackedShape &shape, const uint8_t *codes, const uint32_t *scales, int64_t row, double *out);

}  // namespace duo
