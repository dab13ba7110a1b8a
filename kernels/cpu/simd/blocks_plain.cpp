// Products with quantised weights for any machine: the compiler's baseline instructions.
#define DUO_BLOCKS_NAME "plain"
#define DUO_ISA_FLOATS 4
#define DUO_BLOCKS_PLAIN
#include "cpu/simd/block_body.h"

namespace duo {
const BlockOps *block_ops_plain() { return &block_table; }
}  // namespace duo
