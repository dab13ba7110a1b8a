// Takes blocks apart into codes and scales, and puts those of 16 rows together. Done once, when a model is opened.
#include "cpu/block_panels.h"

#include <algorithm>
#include <cstring>

#include "core/gguf_blocks.h"

namespace duo {
namespace {

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// One block as block_format describes it.
struct BlockParts {
  uint8_t codes[K_BLOCK];
  uint16_t scale, min;                      // float16
  int8_t group_scales[16], group_mins[16];  // nested formats
};

int fifth_bit(const uint8_t qh[4], int index) { return qh[index / 8] >> (index % 8) & 1; }

template <typename Block>
void split_nibbles(const Block &block, BlockParts &out) {
  out.scale = block.d;
  for (int j = 0; j < 16; j++) {
    out.codes[j] = block.qs[j] & 15;
    out.codes[j + 16] = block.qs[j] >> 4;
  }
}

template <typename Block>
void add_fifth_bits(const Block &block, BlockParts &out) {
  for (int j = 0; j < 32; j++) out.codes[j] = static_cast<uint8_t>(out.codes[j] | fifth_bit(block.qh, j) << 4);
}

void split(const BlockQ4_0 &block, BlockParts &out) { split_nibbles(block, out); }
void split(const BlockQ4_1 &block, BlockParts &out) {
  split_nibbles(block, out);
  out.min = block.m;
}
void split(const BlockQ5_0 &block, BlockParts &out) {
  split_nibbles(block, out);
  add_fifth_bits(block, out);
}
void split(const BlockQ5_1 &block, BlockParts &out) {
  split_nibbles(block, out);
  add_fifth_bits(block, out);
  out.min = block.m;
}
void split(const BlockQ8_0 &block, BlockParts &out) {
  out.scale = block.d;
  for (int j = 0; j < 32; j++) out.codes[j] = static_cast<uint8_t>(block.qs[j] + 128);
}

// Element 128h + 32p + l of a K-quant of 2 or 3 bits lies in the two bits 2p of qs[32h + l].
template <typename Block>
void split_pairs(const Block &block, BlockParts &out) {
  out.scale = block.d;
  for (int i = 0; i < K_BLOCK; i++) out.codes[i] = block.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

void split(const BlockQ2K &block, BlockParts &out) {
  split_pairs(block, out);
  out.min = block.dmin;
  for (int group = 0; group < 16; group++) {
    out.group_scales[group] = static_cast<int8_t>(block.scales[group] & 15);
    out.group_mins[group] = static_cast<int8_t>(block.scales[group] >> 4);
  }
}
void split(const BlockQ3K &block, BlockParts &out) {
  split_pairs(block, out);
  for (int i = 0; i < K_BLOCK; i++)
    out.codes[i] = static_cast<uint8_t>(out.codes[i] | (block.hmask[i % 32] >> (i / 32) & 1) << 2);
  uint8_t scales[16];
  read_scales_q3k(block.scales, scales);
  for (int group = 0; group < 16; group++) out.group_scales[group] = static_cast<int8_t>(scales[group] - 32);
}

template <typename Block>
void split_halves(const Block &block, BlockParts &out) {
  out.scale = block.d;
  out.min = block.dmin;
  for (int i = 0; i < K_BLOCK; i++) out.codes[i] = block.qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
  for (int group = 0; group < 8; group++) {
    uint8_t scale, min;
    read_scale_min(block.scales, group, &scale, &min);
    out.group_scales[group] = static_cast<int8_t>(scale);
    out.group_mins[group] = static_cast<int8_t>(min);
  }
}

void split(const BlockQ4K &block, BlockParts &out) { split_halves(block, out); }
void split(const BlockQ5K &block, BlockParts &out) {
  split_halves(block, out);
  for (int i = 0; i < K_BLOCK; i++)
    out.codes[i] = static_cast<uint8_t>(out.codes[i] | (block.qh[i % 32] >> (i / 32) & 1) << 4);
}
void split(const BlockQ6K &block, BlockParts &out) {
  out.scale = block.d;
  for (int i = 0; i < K_BLOCK; i++) {
    const int half = i / 128, part = i % 128 / 32, l = i % 32;
    const int low = block.ql[half * 64 + part % 2 * 32 + l] >> (part / 2 * 4) & 15,
              high = block.qh[half * 32 + l] >> (part * 2) & 3;
    out.codes[i] = static_cast<uint8_t>(low | high << 4);
  }
  std::copy(block.scales, block.scales + 16, out.group_scales);
}

template <typename Block>
void split_bytes(const uint8_t *from, BlockParts &out) {
  Block block;
  std::memcpy(&block, from, sizeof block);
  split(block, out);
}

void split_block(Dtype dtype, const uint8_t *from, BlockParts &out) {
  switch (dtype) {
    case Dtype::q4_0: return split_bytes<BlockQ4_0>(from, out);
    case Dtype::q4_1: return split_bytes<BlockQ4_1>(from, out);
    case Dtype::q5_0: return split_bytes<BlockQ5_0>(from, out);
    case Dtype::q5_1: return split_bytes<BlockQ5_1>(from, out);
    case Dtype::q2_k: return split_bytes<BlockQ2K>(from, out);
    case Dtype::q3_k: return split_bytes<BlockQ3K>(from, out);
    case Dtype::q4_k: return split_bytes<BlockQ4K>(from, out);
    case Dtype::q5_k: return split_bytes<BlockQ5K>(from, out);
    case Dtype::q6_k: return split_bytes<BlockQ6K>(from, out);
    default: return split_bytes<BlockQ8_0>(from, out);
  }
}

// Codes of 32 neighbours of one weight row into their chunk of the panel.
void put_codes(const BlockFormat &format, const uint8_t *codes, int64_t row, uint8_t *chunk) {
  const int low_steps = 8 / format.low_bits;
  uint8_t *high = chunk + DEPTH_CHUNK / 4 / low_steps * 4 * PANEL_ROWS;
  for (int i = 0; i < DEPTH_CHUNK; i++) {
    const int step = i / 4;
    const int64_t lane = row * 4 + i % 4;
    const auto put = [&](uint8_t *plane, int bits, int value) {
      const int steps = 8 / bits;
      uint8_t &byte = plane[step / steps * 4 * PANEL_ROWS + lane];
      byte = static_cast<uint8_t>(byte | value << (step % steps * bits));
    };
    put(chunk, format.low_bits, codes[i] & ((1 << format.low_bits) - 1));
    if (format.high_bits > 0) put(high, format.high_bits, codes[i] >> format.low_bits);
  }
}

// Scales of one block of one weight row.
void put_scales(const BlockFormat &format, const BlockParts &parts, int64_t row, uint8_t *scales) {
  std::memcpy(scales + 2 * row, &parts.scale, 2);
  if (format.has_min) std::memcpy(scales + 2 * (PANEL_ROWS + row), &parts.min, 2);
  if (!format.is_nested) return;
  const int fields = format.has_min ? 2 : 1;
  for (int64_t group = 0; group < K_BLOCK / format.group; group++) {
    uint8_t *at = scales + fields * PANEL_ROWS * (2 + group) + row;
    at[0] = static_cast<uint8_t>(parts.group_scales[group]);
    if (format.has_min) at[PANEL_ROWS] = static_cast<uint8_t>(parts.group_mins[group]);
  }
}

int64_t count_codes(Dtype dtype, int64_t columns) {
  return columns / DEPTH_CHUNK * chunk_code_bytes(block_format(dtype));
}

void pack_panel(const Tensor &weight, int64_t first, uint8_t *to) {
  const BlockFormat format = block_format(weight.dtype);
  const int64_t elements = block_elements(weight.dtype), chunk_bytes = chunk_code_bytes(format);
  uint8_t *scales = to + count_codes(weight.dtype, weight.columns);
  BlockParts parts{};
  for (int64_t row = 0; row < std::min(PANEL_ROWS, weight.rows - first); row++) {
    const uint8_t *from = weight.data + (first + row) * weight.row_bytes();
    for (int64_t block = 0; block < weight.columns / elements; block++) {
      split_block(weight.dtype, from + block * block_bytes(weight.dtype), parts);
      for (int64_t i = 0; i < elements; i += DEPTH_CHUNK)
        put_codes(format, parts.codes + i, row, to + (block * elements + i) / DEPTH_CHUNK * chunk_bytes);
      put_scales(format, parts, row, scales + block * scale_bytes(format));
    }
  }
}

}  // namespace

int64_t BlockPanels::panel_bytes() const {
  return round_up(count_codes(dtype, columns) + columns / block_elements(dtype) * scale_bytes(block_format(dtype)), 64);
}

BlockPanel BlockPanels::panel(int64_t index) const {
  const uint8_t *codes = data + index * panel_bytes();
  return {dtype, codes, codes + count_codes(dtype, columns)};
}

int64_t count_panel_bytes(const Tensor &weight) {
  const BlockPanels panels{nullptr, weight.dtype, weight.rows, weight.columns};
  return panels.count() * panels.panel_bytes();
}

BlockPanels pack_panels(ThreadPool &pool, const Tensor &weight, uint8_t *to) {
  const BlockPanels panels{to, weight.dtype, weight.rows, weight.columns};
  pool.run(panels.count(),
           [&](int64_t index, int64_t) { pack_panel(weight, index * PANEL_ROWS, to + index * panels.panel_bytes()); });
  return panels;
}

}  // namespace duo
