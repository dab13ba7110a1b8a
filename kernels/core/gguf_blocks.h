// Blocks of ggml's quantised weight types, as GGUF files store them, and their plain dequantisation, which tests
// compare every fast product with. Layouts: ggml-common.h and ggml-quants.c of github.com/ggml-org/ggml (MIT). Fields
// of 16 bits are IEEE float16. A matrix row is a whole number of blocks, and blocks run along the row, so that whole
// rows may be moved without touching a block.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace duo {

constexpr int64_t SMALL_BLOCK = 32, K_BLOCK = 256;

// 32 elements. Element j is nibble j of qs for j < 16 (low halves first), element j + 16 the high half of qs[j].
struct BlockQ4_0 {  // d·(q − 8)
  uint16_t d;
  uint8_t qs[16];
};
struct BlockQ4_1 {  // d·q + m
  uint16_t d, m;
  uint8_t qs[16];
};
// Bit j of qh (little-endian, 32 bits) is the fifth bit of element j.
struct BlockQ5_0 {  // d·(q − 16)
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct BlockQ5_1 {  // d·q + m
  uint16_t d, m;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct BlockQ8_0 {  // d·q
  uint16_t d;
  int8_t qs[32];
};

// 256 elements in 16 or 8 groups that have scales of their own.
struct BlockQ2K {  // d·(scale & 15)·q − dmin·(scale >> 4), groups of 16
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d, dmin;
};
struct BlockQ3K {  // d·(scale − 32)·(q − 4·!hmask), groups of 16, scales of 6 bits
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};
struct BlockQ4K {  // d·scale·q − dmin·min, groups of 32, scales and minima of 6 bits
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};
struct BlockQ5K {  // as Q4_K, with fifth bits in qh
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
struct BlockQ6K {  // d·scale·(q − 32), groups of 16
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 &&
                  sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34,
              "blocks of 32 have no gaps");
static_assert(sizeof(BlockQ2K) == 84 && sizeof(BlockQ3K) == 110 && sizeof(BlockQ4K) == 144 && sizeof(BlockQ5K) == 176 &&
                  sizeof(BlockQ6K) == 210,
              "blocks of 256 have no gaps");

// Elements of one block, and its bytes; an element of a plain dtype is a block of 1. 1 and 0 for dtypes that are not of
// weights.
int64_t block_elements(Dtype dtype);
int64_t block_bytes(Dtype dtype);

// "Q4_K" and the like; "F32", "F16", "BF16"; "" for other dtypes.
const char *dtype_name(Dtype dtype);

// Group `index` (0 … 7) of the packed 6-bit scales and minima of Q4_K and Q5_K.
void read_scale_min(const uint8_t scales[12], int index, uint8_t *scale, uint8_t *min);
// The 16 scales of Q3_K, 0 … 63 (32 is to be subtracted).
void read_scales_q3k(const uint8_t packed[12], uint8_t scales[16]);

// out[i] = fp32 of `count` elements from the start of a block; count is a multiple of block_elements. Any weight dtype,
// F32, F16 and BF16 too.
void dequantize(Dtype dtype, const uint8_t *from, int64_t count, float *out);

// out[i] = fp32 of elements begin … begin + count − 1 of a row that starts at `row`; neither need be a multiple of the
// block.
void dequantize_range(Dtype dtype, const uint8_t *row, int64_t begin, int64_t count, float *out);

// Index of the first block of `count` whose scale or minimum is NaN or infinite; `count` if none. Finite scales give
// finite elements.
int64_t find_non_finite_block(Dtype dtype, const uint8_t *from, int64_t count);

}  // namespace duo
