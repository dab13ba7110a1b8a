// Quantised types, and random blocks of them, for tests.
#pragma once
#include "check.h"
#include "core/gguf_blocks.h"

namespace duo {

inline constexpr Dtype QUANTIZED_TYPES[] = {Dtype::q4_0, Dtype::q4_1, Dtype::q5_0, Dtype::q5_1, Dtype::q8_0,
                                            Dtype::q2_k, Dtype::q3_k, Dtype::q4_k, Dtype::q5_k, Dtype::q6_k};

// Whether a byte of a block belongs to its float16 scale or minimum.
inline bool is_scale_byte(Dtype dtype, int64_t at) {
  switch (dtype) {
    case Dtype::q2_k: return at >= 80;
    case Dtype::q3_k: return at >= 108;
    case Dtype::q6_k: return at >= 208;
    case Dtype::q4_1:
    case Dtype::q5_1:
    case Dtype::q4_k:
    case Dtype::q5_k: return at < 4;
    default: return at < 2;
  }
}

// Random bytes with scales near 0.01, which float16 0x2000 … 0x23ff are.
inline std::vector<uint8_t> draw_blocks(Random &random, Dtype dtype, int64_t elements) {
  std::vector<uint8_t> bytes(static_cast<size_t>(elements / block_elements(dtype) * block_bytes(dtype)));
  for (auto &byte : bytes) byte = static_cast<uint8_t>(random.bits() >> 32);
  for (int64_t block = 0; block < elements / block_elements(dtype); block++) {
    uint8_t *at = bytes.data() + block * block_bytes(dtype);
    for (int64_t i = 1; i < block_bytes(dtype); i += 2) {
      if (is_scale_byte(dtype, i)) at[i] = static_cast<uint8_t>(0x20 | (at[i] & 3));
    }
  }
  return bytes;
}

}  // namespace duo
