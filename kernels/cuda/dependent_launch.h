// Launches that overlap the end of the kernel before them (programmatic dependent launch, compute capability 9.0), also
// inside a captured graph. A kernel so started may have blocks running while its predecessor still works. Rules that
// keep it right:
//   - before griddepcontrol_wait() a block reads only what no kernel since the last ordinary launch writes (weights, old cache entries);
//   - every block of such a kernel calls griddepcontrol_wait() before it ends, so that a kernel's end implies its predecessors' ends.
// On older GPUs, in code compiled for them, and with DUO_DEPENDENT_LAUNCH=0 these are ordinary launches.
#pragma once
#include <cstdlib>

#include "cuda/device.h"

namespace duo::cuda {

// Wait until all kernels before this one have ended and their writes are visible. Does nothing in a kernel that was
// launched the ordinary way.
__device__ __forceinline__ void griddepcontrol_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Let the next kernel's blocks start where there is room, once all blocks of this grid have called this or ended.
__device__ __forceinline__ void griddepcontrol_launch_dependents() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// Brings the line of `from`, which no kernel of the step writes, into the multiprocessor's own cache, without waiting
// for it.
__device__ __forceinline__ void load_line(const void *from) {
#if defined(__CUDA_ARCH__)
  [[maybe_unused]] uint32_t word;
  asm volatile("ld.global.b32 %0, [%1];" : "=r"(word) : "l"(from));
#else
  (void)from;
#endif
}

#ifndef DUO_EMULATION
// Whether the machine code that would run has the waits above: a kernel compiled for an older target lacks them.
inline bool can_overlap(const void *kernel) {
  static const bool is_wanted = [] {
    const char *wish = std::getenv("DUO_DEPENDENT_LAUNCH");
    return wish == nullptr || wish[0] != '0';
  }();
  cudaFuncAttributes attributes;
  return is_wanted && cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion >= 90 &&
         attributes.binaryVersion >= 90;
}
#endif

template <typename... Parameters, typename... Arguments>
inline cudaError_t launch_dependent(const Grid &grid, cudaStream_t stream, void (*kernel)(Parameters...),
                                    Arguments... arguments) {
#ifdef DUO_EMULATION
  return launch(grid, stream, kernel, arguments...);
#else
  const auto *address = reinterpret_cast<const void *>(kernel);
  if (!can_overlap(address)) return launch(grid, stream, kernel, arguments...);
  if (const cudaError_t error = allow_shared_memory(address, grid.shared_bytes); error != cudaSuccess) return error;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
#endif
}

}  // namespace duo::cuda
