// Products with quantised weights for x86-64 with AVX512-VNNI (vpdpbusd); null elsewhere.
#include "cpu/simd/block_ops.h"
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define DUO_BLOCKS_NAME "avx512-vnni"
#define DUO_ISA_FLOATS 16
#define DUO_BLOCKS_VNNI
#include "cpu/simd/block_body.h"

namespace duo {
const BlockOps *block_ops_avx512_vnni() { return &block_table; }
}  // namespace duo
#else
namespace duo {
const BlockOps *block_ops_avx512_vnni() { return nullptr; }
}  // namespace duo
#endif
