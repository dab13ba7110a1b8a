// Which kernels a device gets: asked once, of the device that is selected then (a process uses one).
#include "cuda/hopper.h"

#include <cstdlib>
#include <cstring>

namespace duo::cuda {

bool has_hopper() {
  static const bool answer = [] {
    const char *wish = std::getenv("DUO_HOPPER");
    if (wish != nullptr && std::strcmp(wish, "0") == 0) return false;
    cudaDeviceProp properties;
#ifdef DUO_EMULATION
    return cudaGetDeviceProperties(&properties, 0) == cudaSuccess && properties.major == 9;
#else
    int device = 0;
    return cudaGetDevice(&device) == cudaSuccess && cudaGetDeviceProperties(&properties, device) == cudaSuccess && properties.major == 9;
#endif
  }();
  return answer;
}

}  // namespace duo::cuda
