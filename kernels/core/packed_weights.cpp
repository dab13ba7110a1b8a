// One group of 16 of any block type as codes, a scale and a minimum, and where each code and scale goes.
#include "core/packed_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace duo {
namespace {

constexpr int GROUP = 16;

// value = scale·code + minimum
struct Group {
  int8_t codes[GROUP];
  float scale, minimum;
};

template <typename Block>
Block read_block(const uint8_t *from) {
  Block block;
  std::memcpy(&block, from, sizeof block);
  return block;
}

// Element of a block of 32 whose nibbles lie as gguf_blocks.h says; `sixteen` is 0 or 1.
int nibble(const uint8_t *qs, int sixteen, int i) { return sixteen == 0 ? qs[i] & 15 : qs[i] >> 4; }
int fifth_bit(const uint8_t qh[4], int j) { return qh[j / 8] >> (j % 8) & 1; }

// Sixteen `index` of the block at `from`, whose format says whether codes are signed.
Group read_group(Dtype dtype, const uint8_t *from, int index, bool is_signed) {
  Group group{};
  const auto fill = [&](const auto &code_of) {
    for (int i = 0; i < GROUP; i++) group.codes[i] = static_cast<int8_t>(code_of(i));
  };
  switch (dtype) {
    case Dtype::q4_0: {
      const auto block = read_block<BlockQ4_0>(from);
      group.scale = f16_to_float(block.d), group.minimum = is_signed ? 0.0f : -8.0f * group.scale;
      fill([&](int i) { return nibble(block.qs, index, i) - (is_signed ? 8 : 0); });
      break;
    }
    case Dtype::q4_1: {
      const auto block = read_block<BlockQ4_1>(from);
      group.scale = f16_to_float(block.d), group.minimum = f16_to_float(block.m);
      fill([&](int i) { return nibble(block.qs, index, i); });
      break;
    }
    case Dtype::q5_0: {
      const auto block = read_block<BlockQ5_0>(from);
      group.scale = f16_to_float(block.d);
      fill([&](int i) { return (nibble(block.qs, index, i) | fifth_bit(block.qh, 16 * index + i) << 4) - 16; });
      break;
    }
    case Dtype::q5_1: {
      const auto block = read_block<BlockQ5_1>(from);
      group.scale = f16_to_float(block.d), group.minimum = f16_to_float(block.m);
      fill([&](int i) { return nibble(block.qs, index, i) | fifth_bit(block.qh, 16 * index + i) << 4; });
      break;
    }
    case Dtype::q8_0: {
      const auto block = read_block<BlockQ8_0>(from);
      group.scale = f16_to_float(block.d);
      fill([&](int i) { return block.qs[16 * index + i]; });
      break;
    }
    case Dtype::q2_k: {
      const auto block = read_block<BlockQ2K>(from);
      group.scale = f16_to_float(block.d) * static_cast<float>(block.scales[index] & 15);
      group.minimum = -f16_to_float(block.dmin) * static_cast<float>(block.scales[index] >> 4);
      fill([&](int i) { return block.qs[index / 8 * 32 + index % 2 * 16 + i] >> (index % 8 / 2 * 2) & 3; });
      break;
    }
    case Dtype::q3_k: {
      const auto block = read_block<BlockQ3K>(from);
      uint8_t scales[16];
      read_scales_q3k(block.scales, scales);
      group.scale = f16_to_float(block.d) * static_cast<float>(scales[index] - 32);
      fill([&](int i) {
        const int low = block.qs[index / 8 * 32 + index % 2 * 16 + i] >> (index % 8 / 2 * 2) & 3,
                  high = block.hmask[index % 2 * 16 + i] >> (index / 2) & 1;
        return low - (high != 0 ? 0 : 4);
      });
      break;
    }
    case Dtype::q4_k: {
      const auto block = read_block<BlockQ4K>(from);
      uint8_t scale, minimum;
      read_scale_min(block.scales, index / 2, &scale, &minimum);
      group.scale = f16_to_float(block.d) * static_cast<float>(scale),
      group.minimum = -f16_to_float(block.dmin) * static_cast<float>(minimum);
      fill([&](int i) { return block.qs[index / 4 * 32 + index % 2 * 16 + i] >> (index / 2 % 2 * 4) & 15; });
      break;
    }
    case Dtype::q5_k: {
      const auto block = read_block<BlockQ5K>(from);
      uint8_t scale, minimum;
      read_scale_min(block.scales, index / 2, &scale, &minimum);
      group.scale = f16_to_float(block.d) * static_cast<float>(scale),
      group.minimum = -f16_to_float(block.dmin) * static_cast<float>(minimum);
      fill([&](int i) {
        const int at = index % 2 * 16 + i;
        return (block.qs[index / 4 * 32 + at] >> (index / 2 % 2 * 4) & 15) | (block.qh[at] >> (index / 2) & 1) << 4;
      });
      break;
    }
    default: {
      const auto block = read_block<BlockQ6K>(from);
      group.scale = f16_to_float(block.d) * static_cast<float>(block.scales[index]);
      const int part = index % 8 / 2, column = index % 2 * 16;
      fill([&](int i) {
        const int low = block.ql[index / 8 * 64 + part % 2 * 32 + column + i] >> (part / 2 * 4) & 15,
                  high = block.qh[index / 8 * 32 + column + i] >> (part * 2) & 3;
        return (low | high << 4) - 32;
      });
    }
  }
  return group;
}

// The codes of elements begin … begin + 15 of a row, a word at a time.
void place_codes(WeightFormat format, int64_t begin, const int8_t codes[GROUP], uint8_t *row) {
  const int64_t size = superblock_elements(format), at = begin % size;
  uint8_t *superblock = row + begin / size * SUPERBLOCK_BYTES;
  if (format == WeightFormat::int4) {
    for (int lane = 0; lane < 2; lane++) {
      uint32_t word = 0;
      for (int i = 0; i < 8; i++) word |= static_cast<uint32_t>(codes[8 * lane + i]) << (4 * (i / 2 + 4 * (i % 2)));
      std::memcpy(superblock + (at % 32 / 8 + lane) * 16 + at / 32 * 4, &word, sizeof word);
    }
    return;
  }
  for (int lane = 0; lane < 4; lane++) {
    const int8_t bytes[4] = {codes[4 * lane], codes[4 * lane + 2], codes[4 * lane + 1], codes[4 * lane + 3]};
    std::memcpy(superblock + lane * 16 + at / 16 * 4, bytes, sizeof bytes);
  }
}

// Byte of a row where the code of `element` lies, and for 4 bits its nibble.
struct CodePlace {
  int64_t byte;
  int shift;
};
CodePlace place_code(WeightFormat format, int64_t element) {
  const int64_t size = superblock_elements(format), at = element % size, base = element / size * SUPERBLOCK_BYTES;
  if (format == WeightFormat::int4) {
    const int64_t i = at % 8, nibble = i / 2 + 4 * (i % 2);
    return {base + at % 32 / 8 * 16 + at / 32 * 4 + nibble / 2, static_cast<int>(nibble % 2 * 4)};
  }
  const int64_t i = at % 4;
  return {base + at % 16 / 4 * 16 + at / 16 * 4 + i % 2 * 2 + i / 2, 0};
}

// Where the word of scales of `element` of a row lies.
int64_t place_word(const PackedShape &shape, int64_t row, int64_t element) {
  const int64_t words = chunk_words(shape.format), word = element / word_elements(shape.format);
  return ((row / SCALE_ROWS * shape.chunks() + word / words) * SCALE_ROWS + row % SCALE_ROWS) * words + word % words;
}

}  // namespace

WeightFormat format_of_blocks(Dtype dtype) {
  switch (dtype) {
    case Dtype::q4_0:
    case Dtype::q4_1:
    case Dtype::q4_k: return WeightFormat::int4;
    case Dtype::q5_0:
    case Dtype::q8_0:
    case Dtype::q3_k:
    case Dtype::q6_k: return WeightFormat::scaled8;
    case Dtype::q5_1:
    case Dtype::q5_k:
    case Dtype::q2_k: return WeightFormat::affine8;
    default: return WeightFormat::bf16;
  }
}

WeightFormat join_formats(const std::vector<Dtype> &dtypes) {
  const WeightFormat first = format_of_blocks(dtypes.front());
  WeightFormat joined = first;
  for (const Dtype dtype : dtypes) {
    const WeightFormat format = format_of_blocks(dtype);
    if (format == WeightFormat::bf16) return WeightFormat::bf16;
    if (format != first) joined = WeightFormat::affine8;
  }
  return joined;
}

bool pack_blocks(Dtype dtype, const PackedShape &shape, const uint8_t *from, uint8_t *codes, uint32_t *scales) {
  const WeightFormat format = shape.format;
  const int64_t row_bytes = shape.row_bytes(), elements = block_elements(dtype), bytes = block_bytes(dtype);
  std::memset(codes, 0, static_cast<size_t>(shape.code_bytes()));
  std::memset(scales, 0, static_cast<size_t>(shape.scale_words()) * sizeof *scales);
  bool is_finite = true;
  for (int64_t row = 0; row < shape.rows; row++) {
    uint8_t *row_codes = codes + row * row_bytes;
    for (int64_t begin = 0; begin < shape.columns; begin += GROUP) {
      const Group group = read_group(dtype, from + begin / elements * bytes, static_cast<int>(begin % elements / GROUP),
                                     format != WeightFormat::int4);
      const uint32_t scale = round_to_f16(group.scale), minimum = round_to_f16(group.minimum);
      is_finite = is_finite && (scale & 0x7c00u) != 0x7c00u && (minimum & 0x7c00u) != 0x7c00u;
      place_codes(format, begin, group.codes, row_codes);
      uint32_t &word = scales[place_word(shape, row, begin)];
      if (format == WeightFormat::scaled8) {
        word |= scale << (begin % 32 == 0 ? 0 : 16);
      } else {
        word = scale | minimum << 16;
      }
    }
    from += shape.columns / elements * bytes;
  }
  return is_finite;
}

void unpack_row(const PackedShape &shape, const uint8_t *codes, const uint32_t *scales, int64_t row, double *out) {
  const auto half = [](uint32_t bits) {
    return static_cast<double>(f16_to_float(static_cast<uint16_t>(bits & 0xffffu)));
  };
  for (int64_t i = 0; i < shape.columns; i++) {
    const CodePlace place = place_code(shape.format, i);
    const uint8_t byte = codes[row * shape.row_bytes() + place.byte];
    const uint32_t word = scales[place_word(shape, row, i)];
    const double code = shape.format == WeightFormat::int4 ? byte >> place.shift & 15 : static_cast<int8_t>(byte);
    out[i] = shape.format == WeightFormat::scaled8 ? code * half(i % 32 < 16 ? word : word >> 16)
                                                   : code * half(word) + half(word >> 16);
  }
}

}  // namespace duo
