// Inner loops for x86-64 with AVX2, FMA and F16C; null elsewhere.
#include "cpu/simd/simd_ops.h"
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define DUO_ISA_NAME "avx2"
#define DUO_ISA_FLOATS 8
#define DUO_TILE_ROWS 6
#define DUO_TILE_VECTORS 2
#include "cpu/simd/simd_body.h"

namespace duo {
const SimdOps *simd_ops_avx2() { return &table; }
}  // namespace duo
#else
namespace duo {
const SimdOps *simd_ops_avx2() { return nullptr; }
}  // namespace duo
#endif
