// What CUDA devices the machine has, and their measured rates.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/backend.h"
#include "cuda/device_timer.h"
#include "cuda/layer_ops.h"
#include "cuda/linear_algebra.h"
#include "cuda/runtime.h"

namespace duo {
namespace cuda {
namespace {

constexpr int64_t BANDWIDTH_BYTES = int64_t{2} << 30;  // far beyond any cache
constexpr int64_t UPLOAD_BYTES = int64_t{1} << 30;     // as a large layer's weights
constexpr int64_t MATRIX_SIZE = 8192;
#ifdef DUO_EMULATION
constexpr int64_t SHRINK = 1 << 7;  // the emulation shows that this runs, not how fast a GPU is
#else
constexpr int64_t SHRINK = 1;
#endif

__global__ void copy_kernel(const uint4 *from, uint4 *to, int64_t count) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x)
    to[i] = from[i];
}
// Every word is used, so that no load can be left out; the sum is written only in a case that the compiler cannot
// exclude.
__global__ void read_kernel(const uint4 *from, int64_t count, uint32_t *sink) {
  uint32_t all = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const uint4 v = from[i];
    all |= v.x | v.y | v.z | v.w;
  }
  if (all != 0) *sink = all;
}
// Rate of fp32 multiply-adds of a register loop: 64 chains per thread.
__global__ void multiply_add_kernel(float *out, int64_t rounds, float factor) {
  float sums[64];
#pragma unroll
  for (int i = 0; i < 64; i++) sums[i] = static_cast<float>(i);
  for (int64_t r = 0; r < rounds; r++) {
#pragma unroll
    for (int i = 0; i < 64; i++) sums[i] = sums[i] * factor + 1.0f;
  }
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < 64; i++) total += sums[i];
  out[static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x] = total;
}

}  // namespace

double time_seconds(const Stream &stream, const std::function<void()> &body) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "creating an event");
  check(cudaEventCreate(&end), "creating an event");
  check(cudaEventRecord(begin, stream.get()), "recording an event");
  body();
  check(cudaEventRecord(end, stream.get()), "recording an event");
  check(cudaEventSynchronize(end), "waiting for a measurement");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin, end), "reading a measurement");
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return static_cast<double>(milliseconds) * 1e-3;
}

}  // namespace cuda

using namespace cuda;

namespace {

std::string name_cuda(int version) {
  return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Without a driver that knows the CUDA of this library: what it needs, and what is here.
std::string describe_driver() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  // The oldest driver of each major version of CUDA on Linux, by NVIDIA's release notes.
  const char *oldest = CUDART_VERSION >= 13000 ? "580" : CUDART_VERSION >= 12000 ? "525" : "450";
  const std::string needs = "this library was built with " + name_cuda(CUDART_VERSION) +
                            ", which needs NVIDIA's driver " + oldest + " or newer; ";
  return needs + (driver == 0 ? "no driver was found" : "the driver here knows " + name_cuda(driver) + " at most");
}

}  // namespace

std::vector<DeviceInfo> describe_cuda_devices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    const std::string reason = error == cudaErrorInsufficientDriver ? describe_driver()
                               : error == cudaSuccess || error == cudaErrorNoDevice
                                   ? "no NVIDIA GPU was found"
                                   : std::string("CUDA says: ") + cudaGetErrorString(error);
    return {{"cuda:0", "", reason, 0, false, {}}};
  }
  std::vector<DeviceInfo> devices;
  for (int index = 0; index < count; index++) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index), "asking for the device's properties");
    const std::string capability = "sm_" + std::to_string(properties.major) + std::to_string(properties.minor);
    const bool is_supported = properties.major >= 8;
    devices.push_back(
        {"cuda:" + std::to_string(index),
         std::string(properties.name) + ", " + std::to_string(properties.multiProcessorCount) + " multiprocessors",
         is_supported ? "" : "bf16 tensor cores are needed: compute capability 8.0 or newer",
         static_cast<int64_t>(properties.totalGlobalMem),
         is_supported,
         {capability, LinearAlgebra::describe()}});
  }
  return devices;
}

double measure_cuda(const OpenOptions &options, int32_t measure, Task &task) {
  check(cudaSetDevice(options.device_index), "selecting the device");
  if (measure == DUO_MEASURE_FREE_MEMORY) {
    size_t free_bytes = 0, total_bytes = 0;
    check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
    return static_cast<double>(free_bytes);
  }
  Stream stream;
  const auto best = [&](double amount, const std::function<void()> &body) {
    double rate = 0;
    for (int i = 0; i < 8; i++) {
      task.check_abort();
      rate = std::max(rate, amount / time_seconds(stream, body));
    }
    return rate;
  };
  if (measure == DUO_MEASURE_READ_BANDWIDTH || measure == DUO_MEASURE_COPY_BANDWIDTH) {
    const int64_t bytes = BANDWIDTH_BYTES / SHRINK / SHRINK, count = bytes / 16;
    DeviceBuffer<uint4> from(count), to(count);
    DeviceBuffer<uint32_t> sink(1);
    check(cudaMemsetAsync(from.data(), 1, static_cast<size_t>(bytes), stream.get()), "filling a buffer");
    const Grid grid{dim3(static_cast<unsigned>(std::min<int64_t>(2048, ceil_divide(count, 256)))), 256};
    if (measure == DUO_MEASURE_READ_BANDWIDTH) {
      return best(static_cast<double>(bytes), [&] {
        check(launch(grid, stream.get(), read_kernel, from.data(), count, sink.data()), "reading memory");
      });
    }
    return best(2.0 * static_cast<double>(bytes), [&] {
      check(launch(grid, stream.get(), copy_kernel, from.data(), to.data(), count), "copying memory");
    });
  }
  if (measure == DUO_MEASURE_UPLOAD_BANDWIDTH) {
    const int64_t bytes = UPLOAD_BYTES / SHRINK / SHRINK;
    PinnedBuffer<uint8_t> from;
    from.resize(bytes);
    std::memset(from.data(), 1, static_cast<size_t>(bytes));
    DeviceBuffer<uint8_t> to(bytes);
    return best(static_cast<double>(bytes), [&] { copy_to_device(to.data(), from.data(), bytes, stream); });
  }
  if (measure == DUO_MEASURE_MATMUL_F32) {
    const int64_t blocks = 1024 / SHRINK, rounds = 4096 / SHRINK;
    DeviceBuffer<float> out(blocks * 256);
    return best(2.0 * 64 * static_cast<double>(blocks * 256 * rounds), [&] {
      check(launch({dim3(static_cast<unsigned>(blocks)), 256}, stream.get(), multiply_add_kernel, out.data(), rounds,
                   0.999f),
            "multiplying");
    });
  }
  const int64_t size = MATRIX_SIZE / (SHRINK > 1 ? 64 : 1);
  DeviceBuffer<bf16> left(size * size), right(size * size), out(size * size);
  // Random numbers: constant operands draw less power and run faster than any real product.
  for (const auto *buffer : {&left, &right}) {
    const int64_t slots = size * size / 128;
    auto *at = reinterpret_cast<uint8_t *>(buffer->data());
    check(launch_fill_cache({at, at + slots * 128, nullptr, nullptr, slots, 0}, Dtype::bf16, 64, 1, stream.get()),
          "making numbers");
  }
  LinearAlgebra algebra(options.device_index);
  const Product product{left.data(), right.data(), out.data(), size, size, size, size, size, size, false, Store::half};
  return best(2.0 * static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(size),
              [&] { algebra.multiply(product, stream); });
}

}  // namespace duo
