// Products with quantised weights for arm64 (smull, sadalp); null elsewhere.
#include "cpu/simd/block_ops.h"
#if defined(__aarch64__)
#define DUO_BLOCKS_NAME "neon"
#define DUO_ISA_FLOATS 4
#include "cpu/simd/block_body.h"

namespace duo {
const BlockOps *block_ops_neon() { return &block_table; }
}  // namespace duo
#else
namespace duo {
const BlockOps *block_ops_neon() { return nullptr; }
}  // namespace duo
#endif
