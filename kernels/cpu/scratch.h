// Working memory: 64-byte aligned float buffers, owned by a call or kept by each thread between calls.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace duo {

// Aligned, uninitialised, freed with the object. Throws std::bad_alloc.
class ScratchBuffer {
 public:
  explicit ScratchBuffer(int64_t count = 0) { resize(count); }
  ~ScratchBuffer() { std::free(data_); }
  ScratchBuffer(const ScratchBuffer &) = delete;
  ScratchBuffer &operator=(const ScratchBuffer &) = delete;
  ScratchBuffer(ScratchBuffer &&other) noexcept : data_(other.data_), count_(other.count_) {
    other.data_ = nullptr;
    other.count_ = 0;
  }
  ScratchBuffer &operator=(ScratchBuffer &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  // Contents are lost.
  void resize(int64_t count) {
    std::free(data_);
    data_ = nullptr;
    count_ = 0;
    if (count <= 0) return;
    data_ = static_cast<float *>(std::aligned_alloc(64, (static_cast<size_t>(count) * 4 + 63) / 64 * 64));
    if (data_ == nullptr) throw std::bad_alloc();
    count_ = count;
  }
  float *data() { return data_; }
  const float *data() const { return data_; }
  int64_t count() const { return count_; }

 private:
  float *data_ = nullptr;
  int64_t count_ = 0;
};

// What a thread's kept buffer is for; nested uses must differ.
enum class ScratchUse { weights, rounded, widened, activations, attention, cache, count };

// The calling thread's buffer of at least `count` floats for one use; contents are what the last use left.
inline float *thread_scratch(ScratchUse use, int64_t count) {
  thread_local ScratchBuffer buffers[static_cast<int>(ScratchUse::count)];
  ScratchBuffer &buffer = buffers[static_cast<int>(use)];
  if (buffer.count() < count) buffer.resize(count);
  return buffer.data();
}

}  // namespace duo
