// Inner loops for any machine: the compiler's baseline instructions.
#define DUO_ISA_NAME "plain"
#define DUO_ISA_FLOATS 4
#define DUO_TILE_ROWS 4
#define DUO_TILE_VECTORS 2
#include "cpu/simd/simd_body.h"

namespace duo {
const SimdOps *simd_ops_plain() { return &table; }
}  // namespace duo
