// Tensors from the mapped files to the device, through two pinned buffers: one is on its way while the other is being
// filled.
#pragma once
#include <algorithm>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include "core/packed_weights.h"
#include "core/weight_map.h"
#include "cuda/runtime.h"

namespace duo::cuda {

constexpr int64_t STAGING_ELEMENTS = 8 << 20;  // 16 MB per buffer: long enough for full bus speed
constexpr int64_t MAX_PACKERS = 8;             // threads that lay blocks out anew

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
    upload_pieces(tensor.rows * tensor.columns, to, [&](int64_t begin, int64_t count, bf16 *piece) {
      convert(tensor.dtype, block_at(tensor, begin), count, piece);
    });
  }

  // The bytes of a tensor as they are stored.
  void upload_raw(const Tensor &tensor, uint8_t *to) {
    upload_pieces(tensor.bytes(), to, [&](int64_t begin, int64_t count, uint8_t *piece) {
      std::memcpy(piece, tensor.data + begin, static_cast<size_t>(count));
    });
  }

  // Rows of blocks in a format with groups that keeps them (core/packed_weights.h): codes [rows, row_bytes], scales of
  // ⌈rows / 8⌉·8 rows. False if a scale passes fp16's range.
  bool upload_packed(const Tensor &tensor, WeightFormat format, uint8_t *codes, uint32_t *scales) {
    const PackedShape whole{format, tensor.rows, tensor.columns};
    const int64_t row_bytes = whole.row_bytes(), row_words = whole.row_words(),
                  scale_bytes = row_words * static_cast<int64_t>(sizeof *scales);
    const int64_t most =
        STAGING_ELEMENTS * static_cast<int64_t>(sizeof(bf16)) / (row_bytes + scale_bytes) / SCALE_ROWS * SCALE_ROWS;
    if (most == 0)
      fail(DUO_STATUS_UNSUPPORTED, "Expected 8 rows of a weight matrix within %lld bytes on CUDA",
           static_cast<long long>(STAGING_ELEMENTS));
    bool is_finite = true;
    for (int64_t row = 0; row < tensor.rows; row += most) {
      const PackedShape here{format, std::min(most, tensor.rows - row), tensor.columns};
      uint8_t *staged = next_staging();
      auto *staged_scales = reinterpret_cast<uint32_t *>(staged + most * row_bytes);
      is_finite =
          pack_side_by_side(tensor.dtype, here, tensor.data + row * tensor.row_bytes(), staged, staged_scales) &&
          is_finite;
      send(codes + row * row_bytes, staged, here.code_bytes());
      send(reinterpret_cast<uint8_t *>(scales + row * row_words), reinterpret_cast<const uint8_t *>(staged_scales),
           here.scale_words() * static_cast<int64_t>(sizeof *scales));
      check(cudaEventRecord(done_[next_], stream_.get()), "recording an event");
    }
    stream_.wait();
    return is_finite;
  }

  // As fp32, from any dtype.
  void upload_f32(const Tensor &tensor, float *to) {
    upload_pieces(tensor.rows * tensor.columns, to, [&](int64_t begin, int64_t count, float *piece) {
      dequantize(tensor.dtype, block_at(tensor, begin), count, piece);
    });
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
  // `count` elements to the device by way of the two buffers, each piece filled by fill(begin, count, piece) while the
  // one before is on its way. A piece holds whole blocks of every stored dtype.
  template <typename T, typename Fill>
  void upload_pieces(int64_t count, T *to, const Fill &fill) {
    constexpr int64_t PIECE = STAGING_ELEMENTS * static_cast<int64_t>(sizeof(bf16)) / static_cast<int64_t>(sizeof(T));
    for (int64_t begin = 0; begin < count; begin += PIECE) {
      const int64_t here = std::min(PIECE, count - begin);
      uint8_t *staged = next_staging();
      fill(begin, here, reinterpret_cast<T *>(staged));
      send(reinterpret_cast<uint8_t *>(to + begin), staged, here * static_cast<int64_t>(sizeof(T)));
      check(cudaEventRecord(done_[next_], stream_.get()), "recording an event");
    }
  }
  // The buffer that is to be filled next, once what was in it has arrived. Throws ABORTED.
  uint8_t *next_staging() {
    task_.check_abort();
    next_ = 1 - next_;
    check(cudaEventSynchronize(done_[next_]), "waiting for an upload");
    return reinterpret_cast<uint8_t *>(staging_[next_].data());
  }
  void send(uint8_t *to, const uint8_t *from, int64_t bytes) {
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream_.get()),
          "uploading weights");
  }
  // pack_blocks by several threads, eight rows or more each.
  static bool pack_side_by_side(Dtype dtype, const PackedShape &shape, const uint8_t *from, uint8_t *codes,
                                uint32_t *scales) {
    const int64_t blocks = (shape.rows + SCALE_ROWS - 1) / SCALE_ROWS,
                  threads = std::min<int64_t>({blocks, MAX_PACKERS, std::max(1u, std::thread::hardware_concurrency())});
    const int64_t rows_each = (blocks + threads - 1) / threads * SCALE_ROWS,
                  row_bytes = shape.columns / block_elements(dtype) * block_bytes(dtype);
    std::vector<std::future<bool>> parts;
    for (int64_t row = 0; row < shape.rows; row += rows_each) {
      const PackedShape part{shape.format, std::min(rows_each, shape.rows - row), shape.columns};
      parts.push_back(std::async(std::launch::async, pack_blocks, dtype, part, from + row * row_bytes,
                                 codes + row * shape.row_bytes(), scales + row * shape.row_words()));
    }
    bool is_finite = true;
    for (auto &part : parts) is_finite = part.get() && is_finite;
    return is_finite;
  }
  // Where element `begin`, the first of a block, is stored.
  static const uint8_t *block_at(const Tensor &tensor, int64_t begin) {
    return tensor.data + begin / block_elements(tensor.dtype) * block_bytes(tensor.dtype);
  }
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
