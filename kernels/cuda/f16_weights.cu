// f16 twins of a model's matrices. bf16 weights are widened on the device, without loss; others come from their files
// once more.
#include "cuda/f16_weights.h"

#include <algorithm>
#include <cmath>

#include "cuda/cuda_model.h"
#include "cuda/layer_ops.h"
#include "cuda/uploader.h"

namespace duo::cuda {
namespace {

constexpr int THREADS = 256;
constexpr int64_t PEAK_BLOCKS = 1024;
constexpr int64_t SLICE_ELEMENTS = int64_t{64} << 20;  // of a matrix as fp32 at a time, 256 MB

__device__ __forceinline__ float stored_value(const void *from, Dtype dtype, int64_t i) {
  return dtype == Dtype::f32   ? static_cast<const float *>(from)[i]
         : dtype == Dtype::f16 ? widen_half(static_cast<const uint16_t *>(from)[i])
                               : widen(static_cast<const uint16_t *>(from)[i]);
}

__global__ void peak_kernel(const void *from, Dtype dtype, int64_t count, float *peak) {
  float largest = 0.0f;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    largest = fmaxf(largest, fabsf(stored_value(from, dtype, i)));
  }
  largest = max_warp(largest);
  if (threadIdx.x % 32 == 0) raise_peak(peak, largest);
}

__global__ void to_f16_kernel(const void *from, Dtype dtype, int64_t count, float factor, uint16_t *to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) to[i] = narrow_as<Half::f16>(factor * stored_value(from, dtype, i));
}

bool is_stored_float(Dtype dtype) { return dtype == Dtype::f32 || dtype == Dtype::f16 || dtype == Dtype::bf16; }

// One run of values on the device that goes into a matrix.
struct Part {
  const void *values;
  Dtype dtype;
  int64_t count;
};

F16Matrix join_parts(const std::vector<Part> &parts, const Stream &stream) {
  F16Matrix out;
  DeviceBuffer<float> peak(1);
  check(cudaMemsetAsync(peak.data(), 0, sizeof(float), stream.get()), "clearing a peak");
  int64_t count = 0;
  for (const Part &part : parts) {
    check(launch_peak(part.values, part.dtype, part.count, peak.data(), stream.get()), "finding the greatest weight");
    count += part.count;
  }
  float greatest = 0.0f;
  copy_to_host(&greatest, peak.data(), 1, stream);
  // The greatest between 2^14 and 2^15: below f16's end, and far above its subnormals.
  int exponent = 0;
  if (greatest > 0.0f) std::frexp(greatest, &exponent);
  out.unit = std::ldexp(1.0f, exponent - 15);
  out.values.resize(count);
  int64_t at = 0;
  for (const Part &part : parts) {
    check(launch_to_f16(part.values, part.dtype, part.count, 1.0f / out.unit, out.values.data() + at, stream.get()),
          "converting weights");
    at += part.count;
  }
  stream.wait();
  return out;
}

F16Matrix upload_parts(Uploader &uploader, const std::vector<const Tensor *> &tensors) {
  std::vector<DeviceBuffer<uint8_t>> raw;
  std::vector<Part> parts;
  for (const Tensor *tensor : tensors) {
    const int64_t count = tensor->rows * tensor->columns;
    const bool is_widened = is_quantized(tensor->dtype);
    raw.emplace_back(is_widened ? count * static_cast<int64_t>(sizeof(float)) : tensor->bytes());
    if (is_widened) {
      uploader.upload_f32(*tensor, reinterpret_cast<float *>(raw.back().data()));
    } else {
      uploader.upload_raw(*tensor, raw.back().data());
    }
    parts.push_back({raw.back().data(), is_widened ? Dtype::f32 : tensor->dtype, count});
  }
  return join_parts(parts, uploader.stream());
}

// Whether a matrix's twin comes from what the device holds: of bf16 values that were stored as others, it comes from
// the files.
bool derives_f16(const DeviceMatrix &matrix, const std::vector<const Tensor *> &tensors) {
  if (matrix.format != WeightFormat::bf16) return true;
  bool is_bf16 = true;
  for (const Tensor *tensor : tensors) is_bf16 = is_bf16 && tensor->dtype == Dtype::bf16;
  return is_bf16;
}

// What the matrix on the device was made of; a matrix in fewer bits as it is there.
F16Matrix convert_matrix(Uploader &uploader, const DeviceMatrix &matrix, const std::vector<const Tensor *> &tensors) {
  if (!derives_f16(matrix, tensors)) return upload_parts(uploader, tensors);
  if (matrix.format == WeightFormat::int8) {
    F16Matrix out;
    out.values.resize(matrix.rows * matrix.columns);
    check(launch_derive_f16(matrix, 1.0f, nullptr, out.values.data(), uploader.stream().get()), "widening weights");
    uploader.stream().wait();
    return out;
  }
  if (matrix.format != WeightFormat::bf16) {
    DeviceBuffer<float> values(matrix.rows * matrix.columns);
    check(launch_widen_rows(matrix.packed(), 0, matrix.rows, Widened::f32, values.data(), uploader.stream().get()),
          "widening weights");
    return join_parts({{values.data(), Dtype::f32, values.count()}}, uploader.stream());
  }
  return join_parts({{matrix.values.data(), Dtype::bf16, matrix.values.count()}}, uploader.stream());
}

// Rows of a matrix in groups that are widened at a time.
int64_t slice_rows(const DeviceMatrix &matrix) {
  return std::clamp<int64_t>(SLICE_ELEMENTS / matrix.columns, 1, matrix.rows);
}

}  // namespace

cudaError_t launch_peak(const void *from, Dtype dtype, int64_t count, float *peak, cudaStream_t stream) {
  if (!is_stored_float(dtype)) return cudaErrorInvalidValue;
  const int64_t blocks = ceil_divide(count, THREADS);
  return launch({dim3(static_cast<unsigned>(blocks < PEAK_BLOCKS ? blocks : PEAK_BLOCKS)), THREADS}, stream,
                peak_kernel, from, dtype, count, peak);
}
cudaError_t launch_to_f16(const void *from, Dtype dtype, int64_t count, float factor, uint16_t *to,
                          cudaStream_t stream) {
  if (!is_stored_float(dtype)) return cudaErrorInvalidValue;
  return launch({dim3(static_cast<unsigned>(ceil_divide(count, THREADS))), THREADS}, stream, to_f16_kernel, from, dtype,
                count, factor, to);
}

int64_t count_widened(const DeviceMatrix &matrix) {
  return has_groups(matrix.format) ? slice_rows(matrix) * matrix.columns : 0;
}
cudaError_t launch_derive_f16(const DeviceMatrix &matrix, float unit, float *widened, uint16_t *to,
                              cudaStream_t stream) {
  if (matrix.format == WeightFormat::int8)
    return launch_widen_rows(matrix.packed(), 0, matrix.rows, Widened::f16, to, stream);
  if (matrix.format == WeightFormat::bf16)
    return launch_to_f16(matrix.values.data(), Dtype::bf16, matrix.values.count(), 1.0f / unit, to, stream);
  const int64_t slice = slice_rows(matrix);
  for (int64_t row = 0; row < matrix.rows; row += slice) {
    const int64_t count = std::min(slice, matrix.rows - row);
    const cudaError_t error = launch_widen_rows(matrix.packed(), row, count, Widened::f32, widened, stream);
    if (error != cudaSuccess) return error;
    const cudaError_t narrowed =
        launch_to_f16(widened, Dtype::f32, count * matrix.columns, 1.0f / unit, to + row * matrix.columns, stream);
    if (narrowed != cudaSuccess) return narrowed;
  }
  return cudaSuccess;
}

void CudaModel::require_f16(Task &task) {
  std::lock_guard<std::mutex> lock(f16_mutex_);
  if (has_f16_) return;
  Uploader uploader(task);
  const auto tensors = [&](const std::string &at, std::initializer_list<const char *> names) {
    std::vector<const Tensor *> out;
    for (const char *name : names) out.push_back(&weights_->get(at + name + ".weight"));
    return out;
  };
  embedding_.f16 = convert_matrix(uploader, embedding_, tensors("", {"model.embed_tokens"}));
  if (!config_.tied_embeddings) lm_head_.f16 = convert_matrix(uploader, lm_head_, tensors("", {"lm_head"}));
  LayerReader reader(layers_, uploader.stream());
  for (int64_t index = layers_.num_f16(); index < config_.layers; index++) {
    task.check_abort();
    const DeviceLayer &layer = reader.use(index);
    const std::string at = "model.layers." + std::to_string(index) + ".";
    const std::vector<const Tensor *> parts[] = {
        tensors(at, {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}), tensors(at, {"self_attn.o_proj"}),
        tensors(at, {"mlp.gate_proj", "mlp.up_proj"}), tensors(at, {"mlp.down_proj"})};
    std::vector<F16Matrix> twins;
    std::vector<bool> is_derived;
    for (size_t i = 0; i < layer.matrices().size(); i++) {
      twins.push_back(convert_matrix(uploader, *layer.matrices()[i], parts[i]));
      is_derived.push_back(derives_f16(*layer.matrices()[i], parts[i]));
    }
    layers_.keep_f16(std::move(twins), is_derived, uploader.stream());
  }
  layers_.finish_f16();
  has_f16_ = true;
}

}  // namespace duo::cuda
