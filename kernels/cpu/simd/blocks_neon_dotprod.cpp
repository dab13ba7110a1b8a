// Products with quantised weights for arm64 with the dot product extension (sdot); null elsewhere.
#include "cpu/simd/block_ops.h"
#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#define DUO_BLOCKS_NAME "neon-dotprod"
#define DUO_ISA_FLOATS 4
#include "cpu/simd/block_body.h"

namespace duo {
const BlockOps *block_ops_neon_dotprod() { return &block_table; }
}  // namespace duo
#else
namespace duo {
const BlockOps *block_ops_neon_dotprod() { return nullptr; }
}  // namespace duo
#endif
