// Run-time choice of the instruction set.
#include "cpu/cpu_features.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "core/backend.h"
#include "cpu/thread_pool.h"

namespace duo {
namespace {

bool has_feature(const char *name) {
#if defined(__x86_64__)
  // __builtin_cpu_supports checks that the operating system saves the registers, too.
  const std::string feature = name;
  if (feature == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (feature == "avx512") {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && has_feature("avx2");
  }
  if (feature == "avx512_bf16") return __builtin_cpu_supports("avx512bf16") && has_feature("avx512");
  return false;
#elif defined(__aarch64__)
  return std::string(name) == "neon";
#else
  (void)name;
  return false;
#endif
}

}  // namespace

std::vector<std::string> list_cpu_features() {
  std::vector<std::string> features;
  for (const char *name : {"avx2", "avx512", "avx512_bf16", "neon"}) {
    if (has_feature(name)) features.emplace_back(name);
  }
  return features;
}

std::string read_cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 10, "model name") == 0) return line.substr(line.find(':') + 2);
  }
  return "CPU";
}

const SimdOps &choose_simd_ops(const std::string &variant) {
  const struct { const char *name; const SimdOps *ops; } tables[] = {
      {"avx512", simd_ops_avx512()}, {"avx2", simd_ops_avx2()}, {"neon", simd_ops_neon()}};
  for (const auto &table : tables) {
    if ((variant.empty() || variant == table.name) && table.ops != nullptr && has_feature(table.name)) return *table.ops;
  }
  if (variant.empty() || variant == "plain") return *simd_ops_plain();
  fail(DUO_STATUS_UNSUPPORTED, "Expected device `cpu:%s` to be usable, but this machine or this build of the library has no such instructions",
       variant.c_str());
}

const Bf16Ops *choose_bf16_ops(const SimdOps &ops) {
  static const bool is_there = has_feature("avx512_bf16");
  return is_there && &ops == simd_ops_avx512() ? bf16_ops_avx512() : nullptr;
}

DeviceInfo describe_cpu() {
  const int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return {"cpu", read_cpu_name() + ", " + std::to_string(count_usable_cpus()) + " threads, computes with " + choose_simd_ops("").name, "",
          memory, true, list_cpu_features()};
}

}  // namespace duo
