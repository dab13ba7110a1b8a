// Products with quantised weights for x86-64 with AVX-VNNI (vpdpbusd on 256 bits); null elsewhere.
#include "cpu/simd/block_ops.h"
#if defined(__AVXVNNI__) && defined(__FMA__) && defined(__F16C__)
#define DUO_BLOCKS_NAME "avx-vnni"
#define DUO_ISA_FLOATS 8
#define DUO_BLOCKS_VNNI
#include "cpu/simd/block_body.h"

namespace duo {
const BlockOps *block_ops_avx_vnni() { return &block_table; }
}  // namespace duo
#else
namespace duo {
const BlockOps *block_ops_avx_vnni() { return nullptr; }
}  // namespace duo
#endif
