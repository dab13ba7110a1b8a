// Products with quantised weights for x86-64 with AVX2, FMA and F16C (vpmaddubsw); null elsewhere.
#include "cpu/simd/block_ops.h"
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define DUO_BLOCKS_NAME "avx2"
#define DUO_ISA_FLOATS 8
#include "cpu/simd/block_body.h"

namespace duo {
const BlockOps *block_ops_avx2() { return &block_table; }
}  // namespace duo
#else
namespace duo {
const BlockOps *block_ops_avx2() { return nullptr; }
}  // namespace duo
#endif
