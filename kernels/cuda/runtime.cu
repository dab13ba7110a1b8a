// One place that turns CUDA's codes into the library's errors; what a device has.
#include "cuda/runtime.h"

#include <map>
#include <mutex>

namespace duo::cuda {

void check(cudaError_t error, const char *what) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // this one is not sticky: the next call must not see it
    size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    fail(DUO_STATUS_MEMORY,
         "Expected device memory for %s, found %.1f of %.1f GB free: take a shorter context, a smaller chunk or KV "
         "dtype, or another GPU",
         what, static_cast<double>(free_bytes) * 1e-9, static_cast<double>(total_bytes) * 1e-9);
  }
  fail(DUO_STATUS_CUDA, "Expected %s to succeed, got CUDA error %d (%s)", what, static_cast<int>(error),
       cudaGetErrorString(error));
}

#ifndef DUO_EMULATION
cudaError_t allow_shared_memory(const void *kernel, size_t bytes) {
  constexpr size_t ALWAYS_ALLOWED = 48 << 10;
  static std::mutex mutex;
  static std::map<std::pair<int, const void *>, size_t> allowed;
  if (bytes <= ALWAYS_ALLOWED) return cudaSuccess;
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  const std::lock_guard<std::mutex> lock(mutex);
  size_t &most = allowed[{device, kernel}];
  if (bytes <= most) return cudaSuccess;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess) most = bytes;
  return error;
}
#endif

DeviceSize size_of_device(int index) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "asking for the device's properties");
  return {properties.multiProcessorCount, static_cast<int64_t>(properties.sharedMemPerBlockOptin)};
}

}  // namespace duo::cuda
