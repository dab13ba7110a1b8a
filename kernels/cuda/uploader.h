// Tensors from the mapped files to the device, through two pinned buffers: one is on its way while the other is being filled.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/weight_map.h"
#include "cuda/runtime.h"

namespace duo::cuda {

constexpr int64_t STAGING_ELEMENTS = 8 << 20;  // 16 MB per buffer: long enough for full bus speed

class Uploader {
 public:
  explicit Uploader(Task &task) : task_(task) {
    for (int i = 0; i < 2; i++) {
      staging_[i].resize(STAGING_ELEMENTS);
      check(cudaEventCreate(&done_[i]), "creating an event");
      check(cudaEventRecord(done_[i], stream_.get()), "recording an event");
    }
  }
  ~Uploader() {
    cudaStreamSynchronize(stream_.get());
    for (const cudaEvent_t done : done_) cudaEventDestroy(done);
  }

  // As bf16.
  void upload(const Tensor &tensor, bf16 *to) {
    const int64_t count = tensor.rows * tensor.columns, width = dtype_bytes(tensor.dtype);
    for (int64_t begin = 0; begin < count; begin += STAGING_ELEMENTS) {
      task_.check_abort();
      const int64_t here = std::min(STAGING_ELEMENTS, count - begin);
      next_ = 1 - next_;
      check(cudaEventSynchronize(done_[next_]), "waiting for an upload");
      convert(tensor.dtype, tensor.data + begin * width, here, staging_[next_].data());
      check(cudaMemcpyAsync(to + begin, staging_[next_].data(), static_cast<size_t>(here) * sizeof(bf16), cudaMemcpyHostToDevice, stream_.get()), "uploading weights");
      check(cudaEventRecord(done_[next_], stream_.get()), "recording an event");
    }
  }

  // The bytes of a tensor as they are stored.
  void upload_raw(const Tensor &tensor, uint8_t *to) {
    constexpr int64_t PIECE = STAGING_ELEMENTS * static_cast<int64_t>(sizeof(bf16));
    for (int64_t begin = 0; begin < tensor.bytes(); begin += PIECE) {
      task_.check_abort();
      const int64_t here = std::min(PIECE, tensor.bytes() - begin);
      next_ = 1 - next_;
      check(cudaEventSynchronize(done_[next_]), "waiting for an upload");
      std::memcpy(staging_[next_].data(), tensor.data + begin, static_cast<size_t>(here));
      check(cudaMemcpyAsync(to + begin, staging_[next_].data(), static_cast<size_t>(here), cudaMemcpyHostToDevice, stream_.get()), "uploading weights");
      check(cudaEventRecord(done_[next_], stream_.get()), "recording an event");
    }
  }

  DeviceBuffer<float> upload_vector(const std::vector<const Tensor *> &parts) {
    std::vector<float> values;
    for (const Tensor *part : parts) {
      for (int64_t i = 0; i < part->rows * part->columns; i++) values.push_back(element(*part, i));
    }
    DeviceBuffer<float> out(static_cast<int64_t>(values.size()));
    copy_to_device(out.data(), values.data(), out.count(), stream_);
    stream_.wait();
    return out;
  }
  const Stream &stream() const { return stream_; }

 private:
  static float element(const Tensor &tensor, int64_t index) {
    if (tensor.dtype == Dtype::f32) {
      float value;
      std::memcpy(&value, tensor.data + index * 4, 4);
      return value;
    }
    uint16_t half;
    std::memcpy(&half, tensor.data + index * 2, 2);
    return tensor.dtype == Dtype::bf16 ? bf16_to_float(half) : f16_to_float(half);
  }
  static void convert(Dtype dtype, const uint8_t *from, int64_t count, bf16 *to) {
    if (dtype == Dtype::bf16) {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(bf16));
      return;
    }
    const Tensor piece{from, dtype, 1, count};
    for (int64_t i = 0; i < count; i++) to[i] = float_to_bf16(element(piece, i));
  }

  Task &task_;
  Stream stream_;
  PinnedBuffer<bf16> staging_[2];
  cudaEvent_t done_[2] = {};
  int next_ = 0;
};

}  // namespace duo::cuda
