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
    upload_pieces(tensor.rows * tensor.columns, to, [&](int64_t begin, int64_t count, bf16 *piece) { convert(tensor.dtype, block_at(tensor, begin), count, piece); });
  }

  // The bytes of a tensor as they are stored.
  void upload_raw(const Tensor &tensor, uint8_t *to) {
    upload_pieces(tensor.bytes(), to, [&](int64_t begin, int64_t count, uint8_t *piece) { std::memcpy(piece, tensor.data + begin, static_cast<size_t>(count)); });
  }

  // As fp32, from any dtype.
  void upload_f32(const Tensor &tensor, float *to) {
    upload_pieces(tensor.rows * tensor.columns, to, [&](int64_t begin, int64_t count, float *piece) { dequantize(tensor.dtype, block_at(tensor, begin), count, piece); });
  }

  DeviceBuffer<float> upload_vector(const std::vector<const Tensor *> &parts) {
    std::vector<float> values;
    for (const Tensor *part : parts) {
      const size_t at = values.size();
      values.resize(at + static_cast<size_t>(part->rows * part->columns));
      dequantize(part->dtype, part->data, part->rows * part->columns, values.data() + at);
    }
    DeviceBuffer<float> out(static_cast<int64_t>(values.size()));
    copy_to_device(out.data(), values.data(), out.count(), stream_);
    stream_.wait();
    return out;
  }
  const Stream &stream() const { return stream_; }

 private:
  // `count` elements to the device by way of the two buffers, each piece filled by fill(begin, count, piece) while the one before is on its way.
  // A piece holds whole blocks of every stored dtype.
  template <typename T, typename Fill>
  void upload_pieces(int64_t count, T *to, const Fill &fill) {
    constexpr int64_t PIECE = STAGING_ELEMENTS * static_cast<int64_t>(sizeof(bf16)) / static_cast<int64_t>(sizeof(T));
    for (int64_t begin = 0; begin < count; begin += PIECE) {
      task_.check_abort();
      const int64_t here = std::min(PIECE, count - begin);
      next_ = 1 - next_;
      check(cudaEventSynchronize(done_[next_]), "waiting for an upload");
      fill(begin, here, reinterpret_cast<T *>(staging_[next_].data()));
      check(cudaMemcpyAsync(to + begin, staging_[next_].data(), static_cast<size_t>(here) * sizeof(T), cudaMemcpyHostToDevice, stream_.get()), "uploading weights");
      check(cudaEventRecord(done_[next_], stream_.get()), "recording an event");
    }
  }
  // Where element `begin`, the first of a block, is stored.
  static const uint8_t *block_at(const Tensor &tensor, int64_t begin) { return tensor.data + begin / block_elements(tensor.dtype) * block_bytes(tensor.dtype); }
  // From the start of a block; STAGING_ELEMENTS is a multiple of every block, so that pieces begin at one.
  static void convert(Dtype dtype, const uint8_t *from, int64_t count, bf16 *to) {
    if (dtype == Dtype::bf16) {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(bf16));
      return;
    }
    float widened[K_BLOCK];
    for (int64_t begin = 0; begin < count; begin += K_BLOCK) {
      const int64_t here = std::min(K_BLOCK, count - begin);
      dequantize(dtype, from + begin / block_elements(dtype) * block_bytes(dtype), here, widened);
      for (int64_t i = 0; i < here; i++) to[begin + i] = float_to_bf16(widened[i]);
    }
  }

  Task &task_;
  Stream stream_;
  PinnedBuffer<bf16> staging_[2];
  cudaEvent_t done_[2] = {};
  int next_ = 0;
};

}  // namespace duo::cuda
