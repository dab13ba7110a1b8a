// What instruction sets this machine has, and which table of inner loops that gives.
#pragma once
#include <string>
#include <vector>

#include "cpu/simd/simd_ops.h"

namespace duo {

std::vector<std::string> list_cpu_features();
std::string read_cpu_name();

// variant "" = the best; throws UNSUPPORTED where the machine or build lacks the one asked for.
const SimdOps &choose_simd_ops(const std::string &variant);

}  // namespace duo
