// The shortest loops over each block type, in the order of ggml's own dequantisation, so that the values are the same
// bits.
#include "core/gguf_blocks.h"

#include <algorithm>

namespace duo {
namespace {

struct BlockLayout {
  Dtype dtype;
  const char *name;
  int64_t elements, bytes;
  int half_offsets[2];  // bytes from the block's start to its float16 fields, −1 for none
};

constexpr BlockLayout LAYOUTS[] = {
    {Dtype::f32, "F32", 1, 4, {-1, -1}},
    {Dtype::f16, "F16", 1, 2, {-1, -1}},
    {Dtype::bf16, "BF16", 1, 2, {-1, -1}},
    {Dtype::q4_0, "Q4_0", SMALL_BLOCK, sizeof(BlockQ4_0), {0, -1}},
    {Dtype::q4_1, "Q4_1", SMALL_BLOCK, sizeof(BlockQ4_1), {0, 2}},
    {Dtype::q5_0, "Q5_0", SMALL_BLOCK, sizeof(BlockQ5_0), {0, -1}},
    {Dtype::q5_1, "Q5_1", SMALL_BLOCK, sizeof(BlockQ5_1), {0, 2}},
    {Dtype::q8_0, "Q8_0", SMALL_BLOCK, sizeof(BlockQ8_0), {0, -1}},
    {Dtype::q2_k, "Q2_K", K_BLOCK, sizeof(BlockQ2K), {80, 82}},
    {Dtype::q3_k, "Q3_K", K_BLOCK, sizeof(BlockQ3K), {108, -1}},
    {Dtype::q4_k, "Q4_K", K_BLOCK, sizeof(BlockQ4K), {0, 2}},
    {Dtype::q5_k, "Q5_K", K_BLOCK, sizeof(BlockQ5K), {0, 2}},
    {Dtype::q6_k, "Q6_K", K_BLOCK, sizeof(BlockQ6K), {208, -1}},
};

const BlockLayout *find_layout(Dtype dtype) {
  for (const auto &layout : LAYOUTS) {
    if (layout.dtype == dtype) return &layout;
  }
  return nullptr;
}

int fifth_bit(const uint8_t qh[4], int index) { return qh[index / 8] >> (index % 8) & 1; }

void widen_block(const BlockQ4_0 &block, float *out) {
  const float d = f16_to_float(block.d);
  for (int j = 0; j < 16; j++) {
    out[j] = static_cast<float>((block.qs[j] & 15) - 8) * d;
    out[j + 16] = static_cast<float>((block.qs[j] >> 4) - 8) * d;
  }
}

void widen_block(const BlockQ4_1 &block, float *out) {
  const float d = f16_to_float(block.d), m = f16_to_float(block.m);
  for (int j = 0; j < 16; j++) {
    out[j] = static_cast<float>(block.qs[j] & 15) * d + m;
    out[j + 16] = static_cast<float>(block.qs[j] >> 4) * d + m;
  }
}

void widen_block(const BlockQ5_0 &block, float *out) {
  const float d = f16_to_float(block.d);
  for (int j = 0; j < 16; j++) {
    out[j] = static_cast<float>(((block.qs[j] & 15) | fifth_bit(block.qh, j) << 4) - 16) * d;
    out[j + 16] = static_cast<float>(((block.qs[j] >> 4) | fifth_bit(block.qh, j + 16) << 4) - 16) * d;
  }
}

void widen_block(const BlockQ5_1 &block, float *out) {
  const float d = f16_to_float(block.d), m = f16_to_float(block.m);
  for (int j = 0; j < 16; j++) {
    out[j] = static_cast<float>((block.qs[j] & 15) | fifth_bit(block.qh, j) << 4) * d + m;
    out[j + 16] = static_cast<float>((block.qs[j] >> 4) | fifth_bit(block.qh, j + 16) << 4) * d + m;
  }
}

void widen_block(const BlockQ8_0 &block, float *out) {
  const float d = f16_to_float(block.d);
  for (int j = 0; j < 32; j++) out[j] = static_cast<float>(block.qs[j]) * d;
}

// Elements 128h + 32p + l lie in the two bits 2p of qs[32h + l]; K-quants of 2 and 3 bits.
void widen_block(const BlockQ2K &block, float *out) {
  const float d = f16_to_float(block.d), dmin = f16_to_float(block.dmin);
  for (int group = 0; group < 16; group++) {
    const uint8_t *qs = block.qs + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    const float scale = d * static_cast<float>(block.scales[group] & 15),
                min = dmin * static_cast<float>(block.scales[group] >> 4);
    for (int i = 0; i < 16; i++) out[group * 16 + i] = scale * static_cast<float>(qs[i] >> shift & 3) - min;
  }
}

void widen_block(const BlockQ3K &block, float *out) {
  const float d = f16_to_float(block.d);
  uint8_t scales[16];
  read_scales_q3k(block.scales, scales);
  for (int group = 0; group < 16; group++) {
    const uint8_t *qs = block.qs + group / 8 * 32 + group % 2 * 16, *high = block.hmask + group % 2 * 16;
    const int shift = group % 8 / 2 * 2, bit = group / 2;
    const float scale = d * static_cast<float>(scales[group] - 32);
    for (int i = 0; i < 16; i++)
      out[group * 16 + i] = scale * static_cast<float>((qs[i] >> shift & 3) - ((high[i] >> bit & 1) != 0 ? 0 : 4));
  }
}

// Elements 64p + l lie in the low halves of qs[32p + l], 64p + 32 + l in the high ones.
void widen_block(const BlockQ4K &block, float *out) {
  const float d = f16_to_float(block.d), dmin = f16_to_float(block.dmin);
  for (int group = 0; group < 8; group++) {
    uint8_t packed_scale, packed_min;
    read_scale_min(block.scales, group, &packed_scale, &packed_min);
    const uint8_t *qs = block.qs + group / 2 * 32;
    const int shift = group % 2 * 4;
    const float scale = d * static_cast<float>(packed_scale), min = dmin * static_cast<float>(packed_min);
    for (int i = 0; i < 32; i++) out[group * 32 + i] = scale * static_cast<float>(qs[i] >> shift & 15) - min;
  }
}

void widen_block(const BlockQ5K &block, float *out) {
  const float d = f16_to_float(block.d), dmin = f16_to_float(block.dmin);
  for (int group = 0; group < 8; group++) {
    uint8_t packed_scale, packed_min;
    read_scale_min(block.scales, group, &packed_scale, &packed_min);
    const uint8_t *qs = block.qs + group / 2 * 32;
    const int shift = group % 2 * 4;
    const float scale = d * static_cast<float>(packed_scale), min = dmin * static_cast<float>(packed_min);
    for (int i = 0; i < 32; i++) {
      const int q = (qs[i] >> shift & 15) | (block.qh[i] >> group & 1) << 4;
      out[group * 32 + i] = scale * static_cast<float>(q) - min;
    }
  }
}

// Element 128h + 32p + l: four bits in half p/2 of ql[64h + 32·(p mod 2) + l], two bits 2p of qh[32h + l].
void widen_block(const BlockQ6K &block, float *out) {
  const float d = f16_to_float(block.d);
  for (int group = 0; group < 16; group++) {
    const int part = group % 8 / 2, column = group % 2 * 16;
    const uint8_t *low = block.ql + group / 8 * 64 + part % 2 * 32 + column, *high = block.qh + group / 8 * 32 + column;
    const float scale = d * static_cast<float>(block.scales[group]);
    for (int i = 0; i < 16; i++) {
      out[group * 16 + i] =
          scale * static_cast<float>(((low[i] >> (part / 2 * 4) & 15) | (high[i] >> (part * 2) & 3) << 4) - 32);
    }
  }
}

template <typename Block>
void widen_blocks(const uint8_t *from, int64_t count, int64_t elements, float *out) {
  for (int64_t i = 0; i < count / elements; i++) {
    Block block;
    std::memcpy(&block, from + i * static_cast<int64_t>(sizeof block), sizeof block);
    widen_block(block, out + i * elements);
  }
}

uint16_t read_half(const uint8_t *from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

}  // namespace

int64_t block_elements(Dtype dtype) {
  const BlockLayout *layout = find_layout(dtype);
  return layout == nullptr ? 1 : layout->elements;
}

int64_t block_bytes(Dtype dtype) {
  const BlockLayout *layout = find_layout(dtype);
  return layout == nullptr ? dtype_bytes(dtype) : layout->bytes;
}

const char *dtype_name(Dtype dtype) {
  const BlockLayout *layout = find_layout(dtype);
  return layout == nullptr ? "" : layout->name;
}

void read_scale_min(const uint8_t scales[12], int index, uint8_t *scale, uint8_t *min) {
  if (index < 4) {
    *scale = scales[index] & 63;
    *min = scales[index + 4] & 63;
    return;
  }
  *scale = static_cast<uint8_t>((scales[index + 4] & 15) | (scales[index - 4] >> 6) << 4);
  *min = static_cast<uint8_t>((scales[index + 4] >> 4) | (scales[index] >> 6) << 4);
}

void read_scales_q3k(const uint8_t packed[12], uint8_t scales[16]) {
  for (int i = 0; i < 16; i++) {
    const int low = packed[i % 8] >> (i / 8 * 4) & 15, high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
    scales[i] = static_cast<uint8_t>(low | high << 4);
  }
}

void dequantize(Dtype dtype, const uint8_t *from, int64_t count, float *out) {
  switch (dtype) {
    case Dtype::f32: std::memcpy(out, from, static_cast<size_t>(count) * sizeof(float)); return;
    case Dtype::f16:
      for (int64_t i = 0; i < count; i++) out[i] = f16_to_float(read_half(from + 2 * i));
      return;
    case Dtype::bf16:
      for (int64_t i = 0; i < count; i++) out[i] = bf16_to_float(read_half(from + 2 * i));
      return;
    case Dtype::q4_0: return widen_blocks<BlockQ4_0>(from, count, SMALL_BLOCK, out);
    case Dtype::q4_1: return widen_blocks<BlockQ4_1>(from, count, SMALL_BLOCK, out);
    case Dtype::q5_0: return widen_blocks<BlockQ5_0>(from, count, SMALL_BLOCK, out);
    case Dtype::q5_1: return widen_blocks<BlockQ5_1>(from, count, SMALL_BLOCK, out);
    case Dtype::q8_0: return widen_blocks<BlockQ8_0>(from, count, SMALL_BLOCK, out);
    case Dtype::q2_k: return widen_blocks<BlockQ2K>(from, count, K_BLOCK, out);
    case Dtype::q3_k: return widen_blocks<BlockQ3K>(from, count, K_BLOCK, out);
    case Dtype::q4_k: return widen_blocks<BlockQ4K>(from, count, K_BLOCK, out);
    case Dtype::q5_k: return widen_blocks<BlockQ5K>(from, count, K_BLOCK, out);
    case Dtype::q6_k: return widen_blocks<BlockQ6K>(from, count, K_BLOCK, out);
    default: return;
  }
}

void dequantize_range(Dtype dtype, const uint8_t *row, int64_t begin, int64_t count, float *out) {
  const int64_t elements = block_elements(dtype), bytes = block_bytes(dtype), end = begin + count;
  int64_t at = begin;
  while (at < end) {
    const int64_t offset = at % elements, here = offset == 0 ? (end - at) / elements * elements : 0;
    const uint8_t *block = row + at / elements * bytes;
    if (here > 0) {
      dequantize(dtype, block, here, out + (at - begin));
      at += here;
      continue;
    }
    float piece[K_BLOCK];
    dequantize(dtype, block, elements, piece);
    const int64_t part = std::min(elements - offset, end - at);
    std::copy(piece + offset, piece + offset + part, out + (at - begin));
    at += part;
  }
}

int64_t find_non_finite_block(Dtype dtype, const uint8_t *from, int64_t count) {
  const BlockLayout *layout = find_layout(dtype);
  if (layout == nullptr) return count;
  for (int64_t i = 0; i < count; i++) {
    for (const int offset : layout->half_offsets) {
      if (offset >= 0 && (read_half(from + i * layout->bytes + offset) & 0x7c00u) == 0x7c00u) return i;
    }
  }
  return count;
}

}  // namespace duo
