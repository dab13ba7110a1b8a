// Inner loops for arm64; null elsewhere. 16 of 32 registers hold the product tile.
#include "cpu/simd/simd_ops.h"
#if defined(__aarch64__)
#define DUO_ISA_NAME "neon"
#define DUO_ISA_FLOATS 4
#define DUO_TILE_ROWS 8
#define DUO_TILE_VECTORS 2
#include "cpu/simd/simd_body.h"

namespace duo {
const SimdOps *simd_ops_neon() { return &table; }
}  // namespace duo
#else
namespace duo {
const SimdOps *simd_ops_neon() { return nullptr; }
}  // namespace duo
#endif
