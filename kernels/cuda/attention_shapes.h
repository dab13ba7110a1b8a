// How the kernels of attention by mma are cut for a head size D. Blocks are 4 warps of 16 or 32 rows each; what grows
// with D are shared memory and the output rows in registers, D/2 floats per thread for 16 rows.
#pragma once
#include "cuda/device.h"

namespace duo::cuda {

// Shared memory a block may have on the smallest device: compute capabilities 8.6, 8.9 and 12.0 (8.0: 163 KB, 9.0: 227).
constexpr int SMALLEST_SHARED_BYTES = 99 * 1024;

// Two row tiles per warp use each key fragment twice; more registers than a thread has where both branches are kept, or
// rows are longer than 128. Key tiles of 64 in two buffers fit up to 128.
template <int D, bool BOTH>
struct ForwardShape {
  static constexpr int ROW_TILES = BOTH || D > 128 ? 1 : 2, ROWS = 64 * ROW_TILES, KEYS = D > 128 ? 32 : 64;
  static constexpr int SHARED_BYTES = (ROWS + 4 * KEYS) * D * 2;
  static_assert(SHARED_BYTES <= SMALLEST_SHARED_BYTES);
};

// dQ: 64 query rows; keys and values in two buffers, and queries and gradients.
template <int D>
struct QueryGradientShape {
  static constexpr int ROWS = 64, KEYS = D <= 128 ? 64 : D <= 192 ? 32 : 16;
  static constexpr int SHARED_BYTES = (2 * ROWS + 4 * KEYS) * D * 2;
  static_assert(SHARED_BYTES <= SMALLEST_SHARED_BYTES);
};

// dK, dV: 64 keys; queries and gradients in two buffers. The two sums fill the registers at 128, with 32 queries per
// step; above, a kernel makes dV and another dK, which is 5 products instead of 4 where halves of both would be 6.
template <int D>
struct KeyGradientShape {
  static constexpr int KEYS = 64, QUERIES = D <= 64 ? 64 : D <= 192 ? 32 : 16;
  static constexpr bool IS_SPLIT = D > 128;
  static constexpr int SHARED_BYTES = (2 * KEYS + 4 * QUERIES) * D * 2 + 5 * QUERIES * 4;
  static_assert(SHARED_BYTES <= SMALLEST_SHARED_BYTES);
};

}  // namespace duo::cuda
