// Device memory, streams, events and graphs of the emulation. A captured stream records; other work runs on the calling
// thread, at once or as late or early as its streams and events allow (StreamOrder). Device allocations are host memory
// between guard bytes that are looked at after every launch, filled with NaN bytes at first.
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "emulation/cuda_emulation.h"

struct EmulatedGraph {
  std::shared_ptr<std::vector<std::function<cudaError_t()>>> nodes;
};
// Work of a stream that has not run. Places count from its first work on.
struct StreamQueue {
  struct Work {
    std::function<cudaError_t()> run;      // null: a wait
    std::shared_ptr<StreamQueue> awaited;  // of a wait: until this one has done `place` pieces
    int64_t place;
  };
  std::deque<Work> works;
  int64_t num_done = 0;
  bool copies = false;  // it has had a copy from pinned memory: with StreamOrder::copies_first it runs ahead
  int64_t end() const { return num_done + static_cast<int64_t>(works.size()); }
};
struct EmulatedStream {
  std::shared_ptr<std::vector<std::function<cudaError_t()>>> capturing;
  std::shared_ptr<StreamQueue> queue = std::make_shared<StreamQueue>();
};
struct EmulatedEvent {
  std::chrono::steady_clock::time_point at;
  std::shared_ptr<StreamQueue> queue;  // of its last record
  int64_t place = 0;
};

namespace {

using namespace duo;

constexpr size_t GUARD_BYTES = 256;
constexpr unsigned char GUARD = 0x5A;
// What the emulated card is, so that tests can make it too small or too old: bytes of memory, of a block's shared memory,
// major compute capability.
size_t read_number(const char *variable, size_t otherwise) {
  const char *text = std::getenv(variable);
  return text == nullptr ? otherwise : static_cast<size_t>(std::strtoull(text, nullptr, 10));
}
const size_t DEVICE_BYTES = read_number("DUO_EMULATED_MEMORY", size_t{8} << 30);
const size_t SHARED_BYTES = read_number("DUO_EMULATED_SHARED", size_t{227} << 10);
const int CAPABILITY = static_cast<int>(read_number("DUO_EMULATED_CAPABILITY", 9));

std::recursive_mutex mutex;  // one "device": grids of several host threads take turns
std::map<unsigned char *, size_t> allocations;
std::map<const unsigned char *, size_t> pinned;
size_t allocated = 0, pinned_bytes = 0, most_pinned_bytes = SIZE_MAX;
cudaError_t sticky = cudaSuccess;
emulation::StreamOrder stream_order = emulation::StreamOrder::at_once;
std::vector<std::weak_ptr<StreamQueue>> queues;

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

thread_local int captures = 0;  // that this thread has begun and not ended

// What the runtime refuses while a stream is captured, whatever its arguments are: the capture is lost with it.
cudaError_t refuse_in_capture(const char *call) {
  return captures == 0 ? cudaSuccess : fail_with(std::string("Expected no ") + call + " during a capture");
}

cudaError_t check_guards() {
  for (const auto &[data, bytes] : allocations) {
    if (!is_intact(data, bytes))
      return fail_with("Expected writes inside an allocation of " + std::to_string(bytes) +
                       " bytes, found some beside it");
  }
  return cudaSuccess;
}

// A queue's work before `place`, and before it what that waits for.
cudaError_t run_until(StreamQueue &queue, int64_t place) {
  while (queue.num_done < place && !queue.works.empty()) {
    const StreamQueue::Work work = std::move(queue.works.front());
    queue.works.pop_front();
    const cudaError_t error = work.run ? work.run() : run_until(*work.awaited, work.place);
    queue.num_done++;
    if (error != cudaSuccess) return error;
  }
  return sticky;
}

cudaError_t run_all() {
  for (const auto &weak : queues) {
    if (const auto queue = weak.lock()) run_until(*queue, queue->end());
  }
  return sticky;
}

// What a stream of copies may do now: all before the first wait for work that another stream has not done.
cudaError_t run_ahead(StreamQueue &queue) {
  while (!queue.works.empty()) {
    const StreamQueue::Work &next = queue.works.front();
    if (!next.run && next.awaited->num_done < next.place) break;
    if (const cudaError_t error = run_until(queue, queue.num_done + 1)) return error;
  }
  return sticky;
}

bool is_pinned(const void *pointer) {
  const auto *at = static_cast<const unsigned char *>(pointer);
  auto found = pinned.upper_bound(at);
  return found != pinned.begin() && (--found, at < found->first + found->second);
}

enum class Kind { kernel, pinned_copy };

cudaError_t run_or_record(cudaStream_t stream, std::function<cudaError_t()> work, Kind kind = Kind::kernel) {
  using emulation::StreamOrder;
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (sticky != cudaSuccess) return sticky;
  if (stream != nullptr && stream->capturing) {
    stream->capturing->push_back(std::move(work));
    return cudaSuccess;
  }
  if (stream == nullptr || stream_order == StreamOrder::at_once) return work();
  StreamQueue &queue = *stream->queue;
  if (kind == Kind::pinned_copy) queue.copies = true;
  // Copies last: what follows one on its stream is late with it. Copies first: all else is late.
  const bool is_late = stream_order == StreamOrder::copies_first ? !queue.copies : kind == Kind::pinned_copy;
  queue.works.push_back({std::move(work), nullptr, 0});
  if (stream_order == StreamOrder::copies_first) return is_late ? sticky : run_ahead(queue);
  return is_late || queue.works.size() > 1 ? sticky : run_until(queue, queue.end());
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
  *properties = {"emulated GPU", DEVICE_BYTES, CAPABILITY, 0, 4, 1 << 20, SHARED_BYTES};
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
  if (const cudaError_t error = refuse_in_capture("cudaMalloc")) return error;
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
  if (const cudaError_t error = refuse_in_capture("cudaFree")) return error;
  if (pointer == nullptr) return cudaSuccess;
  run_all();
  const auto found = allocations.find(static_cast<unsigned char *>(pointer));
  if (found == allocations.end()) return fail_with("Expected cudaFree of a live allocation");
  const bool intact = is_intact(found->first, found->second);
  allocated -= found->second;
  allocations.erase(found);
  std::free(static_cast<unsigned char *>(pointer) - GUARD_BYTES);
  return intact ? cudaSuccess : fail_with("Expected writes inside a freed allocation, found some beside it");
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (const cudaError_t error = refuse_in_capture("cudaMallocHost")) return error;
  if (pinned_bytes + bytes > most_pinned_bytes) return cudaErrorMemoryAllocation;
  *pointer = std::malloc(bytes == 0 ? 1 : bytes);
  if (*pointer == nullptr) return cudaErrorMemoryAllocation;
  pinned.emplace(static_cast<unsigned char *>(*pointer), bytes);
  return pinned_bytes += bytes, cudaSuccess;
}
cudaError_t cudaFreeHost(void *pointer) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (const cudaError_t error = refuse_in_capture("cudaFreeHost")) return error;
  run_all();
  const auto found = pinned.find(static_cast<unsigned char *>(pointer));
  if (found == pinned.end()) return fail_with("Expected cudaFreeHost of live pinned memory");
  pinned_bytes -= found->second;
  pinned.erase(found);
  return std::free(pointer), cudaSuccess;
}

// As on a GPU, the source of a copy is read when the copy is made where it is pinned, and at once where it is not.
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  using emulation::StreamOrder;
  const auto copy = [=] { return std::memmove(to, from, bytes), check_guards(); };
  if (kind != cudaMemcpyHostToDevice || stream_order == StreamOrder::at_once) return run_or_record(stream, copy);
  {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    if (is_pinned(from)) return run_or_record(stream, copy, Kind::pinned_copy);
  }
  const auto *first = static_cast<const unsigned char *>(from);
  const std::vector<unsigned char> seen(first, first + bytes);
  return run_or_record(stream, [=] { return std::memcpy(to, seen.data(), bytes), check_guards(); });
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  return run_or_record(stream, [=] { return std::memset(to, value, bytes), check_guards(); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  *stream = new EmulatedStream;
  for (auto queue = queues.begin(); queue != queues.end();) queue = queue->expired() ? queues.erase(queue) : queue + 1;
  queues.push_back((*stream)->queue);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return cudaStreamSynchronize(stream), delete stream, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (const cudaError_t error = refuse_in_capture("cudaStreamSynchronize")) return error;
  return stream == nullptr ? run_all() : run_until(*stream->queue, stream->queue->end());
}
cudaError_t cudaDeviceSynchronize() {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (const cudaError_t error = refuse_in_capture("cudaDeviceSynchronize")) return error;
  return run_all();
}
cudaError_t cudaEventCreate(cudaEvent_t *event) {
  return *event = new EmulatedEvent{std::chrono::steady_clock::now(), nullptr, 0}, cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  event->at = std::chrono::steady_clock::now();
  event->queue = stream == nullptr ? nullptr : stream->queue;
  event->place = stream == nullptr ? 0 : stream->queue->end();
  return sticky;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  return event->queue == nullptr ? sticky : run_until(*event->queue, event->place);
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  return *milliseconds = std::chrono::duration<float, std::milli>(end->at - begin->at).count(), sticky;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  if (event->queue == nullptr || event->queue->num_done >= event->place) return sticky;
  StreamQueue &queue = *stream->queue;
  queue.works.push_back({nullptr, event->queue, event->place});
  // Copies last: kernels come as early as they may, so what they wait for is made when they wait.
  return stream_order == emulation::StreamOrder::copies_last && queue.works.size() == 1 ? run_until(queue, queue.end())
                                                                                        : sticky;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  captures++;
  stream->capturing = std::make_shared<std::vector<std::function<cudaError_t()>>>();
  return sticky;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  captures--;
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

void duo::emulation::set_stream_order(StreamOrder order) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  run_all();
  stream_order = order;
}

void duo::emulation::limit_pinned_memory(size_t most) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  most_pinned_bytes = most;
}

cudaError_t emulate_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                           std::function<void()> kernel) {
  return run_or_record(stream, [=]() -> cudaError_t {
    if (!emulation::run_grid(grid, block, shared_bytes, kernel)) return sticky = cudaErrorLaunchFailure;
    return check_guards();
  });
}
