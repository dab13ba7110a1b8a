// Host side of CUDA calls: errors become duo::Error, memory and streams have owners.
#pragma once
#include <cstdint>
#include <utility>

#include "core/error.h"
#include "cuda/device.h"

namespace duo::cuda {

// Throw DUO_STATUS_MEMORY when the device has none left, else DUO_STATUS_CUDA, unless `error` is success. `what` names
// the work.
void check(cudaError_t error, const char *what);

// What kernels are cut to: the device's multiprocessors, and the shared memory that a block may have.
struct DeviceSize {
  int32_t multiprocessors;
  int64_t shared_bytes;
};
DeviceSize size_of_device(int index);

// Device memory of `count` elements. Not initialised. Freed with the object, unless it is a view.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(int64_t count) { resize(count); }
  ~DeviceBuffer() { release(); }
  DeviceBuffer(DeviceBuffer &&other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        count_(std::exchange(other.count_, 0)),
        is_view_(std::exchange(other.is_view_, false)) {}
  DeviceBuffer &operator=(DeviceBuffer &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    std::swap(is_view_, other.is_view_);
    return *this;
  }
  // Memory of another owner, who outlives it.
  static DeviceBuffer view(T *data, int64_t count) {
    DeviceBuffer out;
    out.data_ = data, out.count_ = count, out.is_view_ = true;
    return out;
  }
  // Contents are lost.
  void resize(int64_t count) {
    release();
    void *memory = nullptr;
    if (count > 0) check(cudaMalloc(&memory, static_cast<size_t>(count) * sizeof(T)), "allocating device memory");
    data_ = static_cast<T *>(memory);
    count_ = count;
  }
  // At least `count`; contents are lost if it grows.
  void reserve(int64_t count) {
    if (count > count_) resize(count);
  }
  T *data() const { return data_; }
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(T)); }

 private:
  // Calls cudaFree only if memory is held: even with null it ends a capture of this thread.
  void release() {
    if (!is_view_ && data_ != nullptr) cudaFree(data_);
    data_ = nullptr, count_ = 0, is_view_ = false;
  }
  T *data_ = nullptr;
  int64_t count_ = 0;
  bool is_view_ = false;
};

// Page-locked host memory, which kernels may write and copies reach at full rate.
template <typename T>
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  ~PinnedBuffer() {
    if (data_ != nullptr) cudaFreeHost(data_);
  }
  PinnedBuffer(const PinnedBuffer &) = delete;
  PinnedBuffer &operator=(const PinnedBuffer &) = delete;
  // Allocate `count` elements, not initialised. Later calls do nothing.
  void resize(int64_t count) {
    if (data_ != nullptr) return;
    void *memory = nullptr;
    const cudaError_t error = cudaMallocHost(&memory, static_cast<size_t>(count) * sizeof(T));
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // not sticky
      fail(DUO_STATUS_MEMORY, "Expected %.2f GB of pinned host memory, got none: raise `ulimit -l` or free host memory",
           static_cast<double>(count) * sizeof(T) * 1e-9);
    }
    check(error, "allocating pinned memory");
    data_ = static_cast<T *>(memory);
  }
  T *data() const { return data_; }

 private:
  T *data_ = nullptr;
};

// A stream of its own. Its owner waits for it before memory that it uses is freed.
class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream"); }
  ~Stream() {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  Stream(const Stream &) = delete;
  Stream &operator=(const Stream &) = delete;
  cudaStream_t get() const { return stream_; }
  void wait() const { check(cudaStreamSynchronize(stream_), "waiting for the device"); }
  // Scratch for one kernel after another of this stream, at least `bytes`; the stream's as long as it lives.
  uint8_t *scratch(int64_t bytes) const {
    scratch_.reserve(bytes);
    return scratch_.data();
  }

 private:
  cudaStream_t stream_ = nullptr;
  mutable DeviceBuffer<uint8_t> scratch_;
};

template <typename T>
void copy_to_device(T *to, const T *from, int64_t count, const Stream &stream) {
  if (count > 0)
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(T), cudaMemcpyHostToDevice, stream.get()),
          "copying to the device");
}
template <typename T>
void clear(DeviceBuffer<T> &buffer, const Stream &stream) {
  check(cudaMemsetAsync(buffer.data(), 0, static_cast<size_t>(buffer.bytes()), stream.get()), "clearing memory");
}
// Returns when the copy is done.
template <typename T>
void copy_to_host(T *to, const T *from, int64_t count, const Stream &stream) {
  if (count > 0)
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(T), cudaMemcpyDeviceToHost, stream.get()),
          "copying to the host");
  stream.wait();
}

}  // namespace duo::cuda
