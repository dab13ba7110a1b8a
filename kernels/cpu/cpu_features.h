// What instruction sets this machine has, and which table of inner loops that gives.
#pragma once
#include <string>
#include <vector>

#include "cpu/simd/bf16_ops.h"
#include "cpu/simd/block_ops.h"
#include "cpu/simd/simd_ops.h"

namespace duo {

std::vector<std::string> list_cpu_features();
std::string read_cpu_name();

// variant "" = the best; throws UNSUPPORTED where the machine or build lacks the one asked for.
const SimdOps &choose_simd_ops(const std::string &variant);

// The bf16 products that share `ops`' tile, or null where the machine or build has none.
const Bf16Ops *choose_bf16_ops(const SimdOps &ops);

// The products with quantised weights that belong to `ops`: the fastest of the same vector width that the machine and
// build have.
const BlockOps &choose_block_ops(const SimdOps &ops);
// Every table that this machine can run, the plain one first.
std::vector<const BlockOps *> list_block_ops();

}  // namespace duo
