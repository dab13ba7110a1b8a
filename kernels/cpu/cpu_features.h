// What instruction sets this machine has, and which table of inner loops that gives.
#pragma once
#include <string>
#include <vector>

#include "cpu/simd/bf16_ops.h"
#include "cpu/simd/simd_ops.h"

namespace duo {

std::vector<std::string> list_cpu_features();
std::string read_cpu_name();

// variant "" = the best; throws UNSUPPORTED where the machine or build lacks the one asked for.
const SimdOps &choose_simd_ops(const std::string &variant);

// The bf16 products that share `ops`' tile, or null where the machine or build has none.
const Bf16Ops *choose_bf16_ops(const SimdOps &ops);

}  // namespace duo
