// Inner loops for x86-64 with AVX-512 F, BW, VL, DQ; null elsewhere. 24 of 32 registers hold the product tile.
#include "cpu/simd/simd_ops.h"
#if defined(__AVX512F__) && defined(__AVX512BW__)
#define DUO_ISA_NAME "avx512"
#define DUO_ISA_FLOATS 16
#define DUO_TILE_ROWS 12
#define DUO_TILE_VECTORS 2
#include "cpu/simd/simd_body.h"

namespace duo {
const SimdOps *simd_ops_avx512() { return &table; }
}  // namespace duo
#else
namespace duo {
const SimdOps *simd_ops_avx512() { return nullptr; }
}  // namespace duo
#endif
