// Which kernels the selected device gets. Each device is asked once: a process may use several, of which not all are
// Hopper GPUs.
#include "cuda/hopper.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace duo::cuda {
namespace {

constexpr int MAX_DEVICES = 64;

bool is_wanted() {
  static const bool answer = [] {
    const char *wish = std::getenv("DUO_HOPPER");
    return wish == nullptr || std::strcmp(wish, "0") != 0;
  }();
  return answer;
}

bool ask(int device) {
  cudaDeviceProp properties;
  return cudaGetDeviceProperties(&properties, device) == cudaSuccess && properties.major == 9;
}

}  // namespace

bool has_hopper() {
  static std::atomic<int> answers[MAX_DEVICES];  // 0: not asked, 1: no, 2: yes
  if (!is_wanted()) return false;
  int device = 0;
#ifndef DUO_EMULATION  // which has one device
  if (cudaGetDevice(&device) != cudaSuccess) return false;
#endif
  if (device < 0 || device >= MAX_DEVICES) return ask(device);
  int answer = answers[device].load(std::memory_order_relaxed);
  if (answer == 0) answers[device].store(answer = ask(device) ? 2 : 1, std::memory_order_relaxed);
  return answer == 2;
}

}  // namespace duo::cuda
