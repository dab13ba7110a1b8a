// Products with quantised weights for x86-64 with AVX-512 F, BW, VL, DQ (vpmaddubsw); null elsewhere.
#include "cpu/simd/block_ops.h"
#if defined(__AVX512F__) && defined(__AVX512BW__)
#define DUO_BLOCKS_NAME "avx512"
#define DUO_ISA_FLOATS 16
#include "cpu/simd/block_body.h"

namespace duo {
const BlockOps *block_ops_avx512() { return &block_table; }
}  // namespace duo
#else
namespace duo {
const BlockOps *block_ops_avx512() { return nullptr; }
}  // namespace duo
#endif
