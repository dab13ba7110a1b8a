// The CPU's tables of inner loops that this machine can run.
#pragma once
#include <cstdio>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_features.h"

namespace duo {

// The others are named as skipped.
inline std::vector<const SimdOps *> list_simd_ops() {
  std::vector<const SimdOps *> list{simd_ops_plain()};
  for (const char *name : {"avx2", "avx512", "neon"}) {
    try {
      list.push_back(&choose_simd_ops(name));
    } catch (const Error &) {
      std::printf("skipped %s: not on this machine\n", name);
    }
  }
  return list;
}

}  // namespace duo
