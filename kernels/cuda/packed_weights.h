// Weights in 4 and 8 bits with scales by groups (core/packed_weights.h) on the device: made of bf16, widened again, and
// read where tokens are embedded.
#pragma once
#include "core/packed_weights.h"
#include "cuda/device.h"

namespace duo::cuda {

// core/packed_weights.h's numbers of a format, for device code.
template <WeightFormat FORMAT>
struct GroupLayout {
  static constexpr int64_t ELEMENTS = superblock_elements(FORMAT), WORD_ELEMENTS = word_elements(FORMAT),
                           WORDS = chunk_words(FORMAT);
};

// A matrix on the device; layouts as core/packed_weights.h has them. int8: codes [rows, columns], row_scale [rows].
struct PackedMatrix {
  WeightFormat format;
  int64_t rows, columns, row_bytes, chunks;
  const uint8_t *codes;
  const uint32_t *scales;  // of formats with groups
  const float *row_scale;  // of int8

  static PackedMatrix of(const PackedShape &shape, const uint8_t *codes, const uint32_t *scales) {
    return {shape.format, shape.rows, shape.columns, shape.row_bytes(), shape.chunks(), codes, scales, nullptr};
  }
  static PackedMatrix of_int8(int64_t rows, int64_t columns, const int8_t *codes, const float *row_scale) {
    return {WeightFormat::int8, rows, columns, columns, 0, reinterpret_cast<const uint8_t *>(codes), nullptr,
            row_scale};
  }
};

// from [rows, columns] bf16 to int4: for each 32 elements the scale and minimum, of those tried, whose fp16 values
// leave the least squared error. codes and scales are written whole. *bad rises to 1 where a scale or minimum passes
// fp16's range.
cudaError_t launch_quantize_groups(const bf16 *from, const PackedShape &shape, uint8_t *codes, uint32_t *scales,
                                   int32_t *bad, cudaStream_t stream);

enum class Widened { bf16, f16, f32 };
// to [count, columns] = rows first … first + count, rounded once.
cudaError_t launch_widen_rows(const PackedMatrix &matrix, int64_t first, int64_t count, Widened kind, void *to,
                              cudaStream_t stream);
// x [count, columns] fp32 = the rows that tokens [count] name.
cudaError_t launch_embed_packed(const int32_t *tokens, const PackedMatrix &matrix, int64_t count, float *x,
                                cudaStream_t stream);

}  // namespace duo::cuda
