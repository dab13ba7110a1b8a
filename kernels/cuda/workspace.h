// Device memory of one long call in one piece. The same layout, run without memory first, says how much it takes, so
// that an estimate is exact.
#pragma once
#include <mutex>

#include "cuda/runtime.h"

namespace duo::cuda {

class Layout {
 public:
  explicit Layout(uint8_t *base) : base_(base) {}  // null: counts only, and every take is null
  template <typename T>
  T *take(int64_t count) {
    T *here = base_ == nullptr ? nullptr : reinterpret_cast<T *>(base_ + bytes_);
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
    return here;
  }
  int64_t bytes() const { return bytes_; }

 private:
  uint8_t *base_;
  int64_t bytes_ = 0;
};

// Keeps the memory of the last call for the next: identification takes thousands of steps of alike size, and cudaMalloc
// and cudaFree of tens of gigabytes wait for the device and cost milliseconds. Safe from several threads; a call that
// finds it taken allocates its own.
class WorkspacePool {
 public:
  DeviceBuffer<uint8_t> take(int64_t bytes) {
    DeviceBuffer<uint8_t> held;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      std::swap(held, held_);
    }
    held.reserve(bytes);
    return held;
  }
  void give_back(DeviceBuffer<uint8_t> memory) {
#ifdef DUO_EMULATION
    return;  // fresh memory is filled with NaN there, which shows what is read before it is written
#endif
    const std::lock_guard<std::mutex> lock(mutex_);
    if (memory.bytes() > held_.bytes()) std::swap(held_, memory);
  }
  // Before a session takes its cache.
  void release() {
    DeviceBuffer<uint8_t> held;
    const std::lock_guard<std::mutex> lock(mutex_);
    std::swap(held, held_);
  }
  int64_t bytes() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return held_.bytes();
  }

 private:
  mutable std::mutex mutex_;
  DeviceBuffer<uint8_t> held_;
};

// Memory of a pool for as long as work on `stream` may use it.
class WorkspaceLoan {
 public:
  WorkspaceLoan(WorkspacePool &pool, int64_t bytes, const Stream &stream)
      : pool_(pool), stream_(stream), memory_(pool.take(bytes)) {}
  ~WorkspaceLoan() {
    cudaStreamSynchronize(stream_.get());
    pool_.give_back(std::move(memory_));
  }
  WorkspaceLoan(const WorkspaceLoan &) = delete;
  WorkspaceLoan &operator=(const WorkspaceLoan &) = delete;
  uint8_t *data() const { return memory_.data(); }

 private:
  WorkspacePool &pool_;
  const Stream &stream_;
  DeviceBuffer<uint8_t> memory_;
};

}  // namespace duo::cuda
