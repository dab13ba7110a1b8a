// Run-time choice of the instruction set.
#include "cpu/cpu_features.h"

#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include <cstdio>
#include <fstream>

#include "core/backend.h"
#include "cpu/thread_pool.h"

namespace duo {
namespace {

#if defined(__x86_64__)
// GCC 12 has no name for it. Leaf 7, subleaf 1, EAX bit 4.
bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}
#endif

bool has_feature(const char *name) {
#if defined(__x86_64__)
  // __builtin_cpu_supports checks that the operating system saves the registers, too.
  const std::string feature = name;
  if (feature == "avx2")
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (feature == "avx512") {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && has_feature("avx2");
  }
  if (feature == "avx512_bf16") return __builtin_cpu_supports("avx512bf16") && has_feature("avx512");
  if (feature == "avx512_vnni") return __builtin_cpu_supports("avx512vnni") && has_feature("avx512");
  if (feature == "avx_vnni") return has_avx_vnni() && has_feature("avx2");
  return false;
#elif defined(__aarch64__)
#if defined(__linux__)
  if (std::string(name) == "dotprod") return (getauxval(AT_HWCAP) >> 20 & 1) != 0;  // HWCAP_ASIMDDP
#endif
  return std::string(name) == "neon";
#else
  (void)name;
  return false;
#endif
}

}  // namespace

std::vector<std::string> list_cpu_features() {
  std::vector<std::string> features;
  for (const char *name : {"avx2", "avx_vnni", "avx512", "avx512_bf16", "avx512_vnni", "neon", "dotprod"}) {
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
  const struct {
    const char *name;
    const SimdOps *ops;
  } tables[] = {{"avx512", simd_ops_avx512()}, {"avx2", simd_ops_avx2()}, {"neon", simd_ops_neon()}};
  for (const auto &table : tables) {
    if ((variant.empty() || variant == table.name) && table.ops != nullptr && has_feature(table.name))
      return *table.ops;
  }
  if (variant.empty() || variant == "plain") return *simd_ops_plain();
  fail(DUO_STATUS_UNSUPPORTED,
       "Expected device `cpu:%s` to be usable, but this machine or this build of the library has no such instructions",
       variant.c_str());
}

const Bf16Ops *choose_bf16_ops(const SimdOps &ops) {
  static const bool is_there = has_feature("avx512_bf16");
  return is_there && &ops == simd_ops_avx512() ? bf16_ops_avx512() : nullptr;
}

const BlockOps &choose_block_ops(const SimdOps &ops) {
  static const bool has_avx512_vnni = has_feature("avx512_vnni"), has_narrow_vnni = has_feature("avx_vnni"),
                    has_dotprod = has_feature("dotprod");
  const struct {
    const SimdOps *simd;
    bool is_there;
    const BlockOps *blocks;
  } tables[] = {
      {simd_ops_avx512(), has_avx512_vnni, block_ops_avx512_vnni()}, {simd_ops_avx512(), true, block_ops_avx512()},
      {simd_ops_avx2(), has_narrow_vnni, block_ops_avx_vnni()},      {simd_ops_avx2(), true, block_ops_avx2()},
      {simd_ops_neon(), has_dotprod, block_ops_neon_dotprod()},      {simd_ops_neon(), true, block_ops_neon()}};
  for (const auto &table : tables) {
    if (&ops == table.simd && table.is_there && table.blocks != nullptr) return *table.blocks;
  }
  return *block_ops_plain();
}

std::vector<const BlockOps *> list_block_ops() {
  std::vector<const BlockOps *> list{block_ops_plain()};
  const struct {
    const char *feature;
    const BlockOps *blocks;
  } tables[] = {{"avx2", block_ops_avx2()},     {"avx_vnni", block_ops_avx_vnni()},
                {"avx512", block_ops_avx512()}, {"avx512_vnni", block_ops_avx512_vnni()},
                {"neon", block_ops_neon()},     {"dotprod", block_ops_neon_dotprod()}};
  for (const auto &table : tables) {
    if (table.blocks != nullptr && has_feature(table.feature)) list.push_back(table.blocks);
  }
  return list;
}

DeviceInfo describe_cpu() {
  const int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return {"cpu",
          read_cpu_name() + ", " + std::to_string(count_usable_cpus()) + " threads, computes with " +
              choose_simd_ops("").name,
          "",
          memory,
          true,
          list_cpu_features()};
}

}  // namespace duo
