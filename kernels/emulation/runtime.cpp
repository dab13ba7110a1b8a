// Device memory, streams, events and graphs of the emulation. Everything runs at once on the calling thread; a captured
// stream records. Device allocations are host memory between guard bytes that are looked at after every launch, filled
// with NaN bytes at first.
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "emulation/cuda_emulation.h"

struct EmulatedGraph {
  std::shared_ptr<std::vector<std::function<cudaError_t()>>> nodes;
};
struct EmulatedStream {
  std::shared_ptr<std::vector<std::function<cudaError_t()>>> capturing;
};
struct EmulatedEvent {
  std::chrono::steady_clock::time_point at;
};

namespace {

using namespace duo;

constexpr size_t GUARD_BYTES = 256;
constexpr unsigned char GUARD = 0x5A;
// What the emulated card is, so that tests can make it too small or too old: bytes of memory, major compute capability.
size_t read_number(const char *variable, size_t otherwise) {
  const char *text = std::getenv(variable);
  return text == nullptr ? otherwise : static_cast<size_t>(std::strtoull(text, nullptr, 10));
}
const size_t DEVICE_BYTES = read_number("DUO_EMULATED_MEMORY", size_t{8} << 30);
const int CAPABILITY = static_cast<int>(read_number("DUO_EMULATED_CAPABILITY", 9));

std::recursive_mutex mutex;  // one "device": grids of several host threads take turns
std::map<unsigned char *, size_t> allocations;
size_t allocated = 0;
cudaError_t sticky = cudaSuccess;

bool is_intact(unsigned char *data, size_t bytes) {
  for (size_t i = 0; i < GUARD_BYTES; i++) {
    if (data[-1 - static_cast<ptrdiff_t>(i)] != GUARD || data[bytes + i] != GUARD) return false;
  }
  return true;
}

cudaError_t fail_with(const std::string &text) {
  emulation::report_fault(text);
  return sticky = cudaErrorLaunchFailure;
}

cudaError_t check_guards() {
  for (const auto &[data, bytes] : allocations) {
    if (!is_intact(data, bytes))
      return fail_with("Expected writes inside an allocation of " + std::to_string(bytes) +
                       " bytes, found some beside it");
  }
  return cudaSuccess;
}

cudaError_t run_or_record(cudaStream_t stream, std::function<cudaError_t()> work) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (sticky != cudaSuccess) return sticky;
  if (stream != nullptr && stream->capturing) {
    stream->capturing->push_back(std::move(work));
    return cudaSuccess;
  }
  return work();
}

}  // namespace

const char *cudaGetErrorString(cudaError_t error) {
  if (error == cudaSuccess) return "no error";
  if (error == cudaErrorMemoryAllocation) return "out of memory";
  return emulation::last_fault().c_str();
}
cudaError_t cudaGetLastError() { return sticky; }
cudaError_t cudaGetDeviceCount(int *count) { return *count = 1, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
  *properties = {"emulated GPU", DEVICE_BYTES, CAPABILITY, 0, 4, 1 << 20, 227 << 10};
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  *free_bytes = DEVICE_BYTES - allocated, *total_bytes = DEVICE_BYTES;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (bytes == 0) return *pointer = nullptr, cudaSuccess;
  if (bytes > DEVICE_BYTES - allocated) return cudaErrorMemoryAllocation;
  auto *memory = static_cast<unsigned char *>(std::aligned_alloc(256, (bytes + 2 * GUARD_BYTES + 255) / 256 * 256));
  if (memory == nullptr) return cudaErrorMemoryAllocation;
  unsigned char *data = memory + GUARD_BYTES;
  std::memset(memory, GUARD, GUARD_BYTES);
  std::memset(data, 0xFF, bytes);
  std::memset(data + bytes, GUARD, GUARD_BYTES);
  allocations.emplace(data, bytes);
  allocated += bytes;
  *pointer = data;
  return cudaSuccess;
}

cudaError_t cudaFree(void *pointer) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (pointer == nullptr) return cudaSuccess;
  const auto found = allocations.find(static_cast<unsigned char *>(pointer));
  if (found == allocations.end()) return fail_with("Expected cudaFree of a live allocation");
  const bool intact = is_intact(found->first, found->second);
  allocated -= found->second;
  allocations.erase(found);
  std::free(static_cast<unsigned char *>(pointer) - GUARD_BYTES);
  return intact ? cudaSuccess : fail_with("Expected writes inside a freed allocation, found some beside it");
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
  *pointer = std::malloc(bytes == 0 ? 1 : bytes);
  return *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void *pointer) { return std::free(pointer), cudaSuccess; }

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return run_or_record(stream, [=] { return std::memmove(to, from, bytes), check_guards(); });
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  return run_or_record(stream, [=] { return std::memset(to, value, bytes), check_guards(); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  return *stream = new EmulatedStream, cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return delete stream, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return sticky; }
cudaError_t cudaDeviceSynchronize() { return sticky; }
cudaError_t cudaEventCreate(cudaEvent_t *event) {
  return *event = new EmulatedEvent{std::chrono::steady_clock::now()}, cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  return event->at = std::chrono::steady_clock::now(), sticky;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return sticky; }
cudaError_t cudaEventQuery(cudaEvent_t) { return sticky; }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  return *milliseconds = std::chrono::duration<float, std::milli>(end->at - begin->at).count(), sticky;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return sticky; }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->capturing = std::make_shared<std::vector<std::function<cudaError_t()>>>();
  return sticky;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  *graph = new EmulatedGraph{std::move(stream->capturing)};
  stream->capturing.reset();
  return sticky;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
  return *executable = new EmulatedGraph(*graph), sticky;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const auto nodes = executable->nodes;
  return run_or_record(stream, [nodes] {
    for (const auto &node : *nodes) {
      if (const cudaError_t error = node()) return error;
    }
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return delete executable, cudaSuccess; }

cudaError_t emulate_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                           std::function<void()> kernel) {
  return run_or_record(stream, [=]() -> cudaError_t {
    if (!emulation::run_grid(grid, block, shared_bytes, kernel)) return sticky = cudaErrorLaunchFailure;
    return check_guards();
  });
}
