// Opening a model on the GPU: bf16 matrices, of products with one input joined into one. f16_weights.cu makes their f16 twins, where something measures.
#include "cuda/cuda_model.h"

#include "cuda/decode_steps.h"
#include "cuda/layer_ops.h"
#include "cuda/uploader.h"

namespace duo {
namespace cuda {
namespace {

// Rows of several tensors one under the other.
DeviceMatrix upload_matrix(Uploader &uploader, const WeightMap &weights, const std::vector<std::string> &names, bool bias, bool int8) {
  DeviceMatrix matrix;
  std::vector<const Tensor *> parts, biases;
  for (const auto &name : names) {
    parts.push_back(&weights.get(name + ".weight"));
    if (bias) biases.push_back(&weights.get(name + ".bias"));
    matrix.rows += parts.back()->rows;
    matrix.columns = parts.back()->columns;
  }
  DeviceBuffer<bf16> values(matrix.rows * matrix.columns);
  int64_t at = 0;
  for (const Tensor *part : parts) {
    uploader.upload(*part, values.data() + at);
    at += part->rows * part->columns;
  }
  if (bias) matrix.bias = uploader.upload_vector(biases);
  if (int8) {
    matrix.quantized.resize(values.count());
    matrix.row_scale.resize(matrix.rows);
    check(launch_quantize_rows(values.data(), matrix.rows, matrix.columns, matrix.quantized.data(), matrix.row_scale.data(), uploader.stream().get()),
          "quantising weights");
    uploader.stream().wait();
  } else {
    matrix.values = std::move(values);
  }
  return matrix;
}

void require_supported(const ModelConfig &config, const OpenOptions &options) {
  const int64_t step = options.weight_dtype == Dtype::int8 ? 16 : 8;
  if (config.head_dim != 32 && config.head_dim != 64 && config.head_dim != 128) {
    fail(DUO_STATUS_UNSUPPORTED, "Expected `head_dim` of 32, 64 or 128 on CUDA, got `%lld`: use device cpu", static_cast<long long>(config.head_dim));
  }
  if (config.hidden % step != 0 || config.intermediate % step != 0) {
    fail(DUO_STATUS_UNSUPPORTED, "Expected `hidden` and `intermediate` to be multiples of %lld on CUDA, got `%lld` and `%lld`", static_cast<long long>(step),
         static_cast<long long>(config.hidden), static_cast<long long>(config.intermediate));
  }
  if (options.weight_dtype != Dtype::stored && options.weight_dtype != Dtype::bf16 && options.weight_dtype != Dtype::int8 &&
      options.weight_dtype != Dtype::f32) {
    fail(DUO_STATUS_UNSUPPORTED, "Expected `weight_dtype` on CUDA to be as stored, BF16 or INT8, got code `%d`", static_cast<int>(options.weight_dtype));
  }
}

}  // namespace

CudaModel::CudaModel(const ModelConfig &config, std::shared_ptr<const WeightMap> weight_map, const OpenOptions &options, Task &task)
    : config_(config), weights_(std::move(weight_map)), device_index_(options.device_index) {
  const WeightMap &weights = *weights_;
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || options.device_index >= num_devices) {
    fail(DUO_STATUS_CUDA, "Expected device `cuda:%d`, found %d usable CUDA devices: %s", options.device_index, num_devices,
         describe_cuda_devices().front().reason.c_str());
  }
  require_supported(config, options);
  select_device();
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device_index_), "asking for the device's properties");
  device_size_ = {properties.multiProcessorCount, static_cast<int64_t>(properties.sharedMemPerBlockOptin)};
  const bool int8 = options.weight_dtype == Dtype::int8;
  device_ = "cuda:" + std::to_string(device_index_) + " " + properties.name + " sm_" + std::to_string(properties.major) + std::to_string(properties.minor) +
            (int8 ? " int8" : "") + ", " + algebra_.description();

  task.set_total(config_.layers + 1);
  Uploader uploader(task);
  const auto vector = [&](const std::string &name) { return uploader.upload_vector({&weights.get(name)}); };
  const Tensor &embedding = weights.get("model.embed_tokens.weight");
  embedding_.resize(embedding.rows * embedding.columns);
  uploader.upload(embedding, embedding_.data());
  final_norm_ = vector("model.norm.weight");
  if (!config_.tied_embeddings || int8) lm_head_ = upload_matrix(uploader, weights, {"lm_head"}, false, int8);
  lm_head_.rows = config_.vocab;
  lm_head_.columns = config_.hidden;
  task.add_done();
  for (int64_t index = 0; index < config_.layers; index++) {
    const std::string at = "model.layers." + std::to_string(index) + ".";
    DeviceLayer layer;
    layer.input_norm = vector(at + "input_layernorm.weight");
    layer.post_attention_norm = vector(at + "post_attention_layernorm.weight");
    if (config_.qk_norm) {
      layer.query_norm = vector(at + "self_attn.q_norm.weight");
      layer.key_norm = vector(at + "self_attn.k_norm.weight");
    }
    const auto names = [&](std::initializer_list<const char *> parts) {
      std::vector<std::string> out;
      for (const char *part : parts) out.push_back(at + part);
      return out;
    };
    layer.qkv = upload_matrix(uploader, weights, names({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}), config_.qkv_bias, int8);
    layer.output = upload_matrix(uploader, weights, names({"self_attn.o_proj"}), config_.output_bias, int8);
    layer.gate_up = upload_matrix(uploader, weights, names({"mlp.gate_proj", "mlp.up_proj"}), config_.mlp_bias, int8);
    layer.down = upload_matrix(uploader, weights, names({"mlp.down_proj"}), config_.mlp_bias, int8);
    for (const DeviceMatrix *matrix : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) weight_bytes_ += matrix->bytes();
    weight_bytes_ += layer.input_norm.bytes() + layer.post_attention_norm.bytes() + layer.query_norm.bytes() + layer.key_norm.bytes();
    layers_.push_back(std::move(layer));
    task.add_done();
  }
  weight_bytes_ += embedding_.bytes() + final_norm_.bytes() + lm_head_.bytes();
  uploader.stream().wait();
  decode_steps_ = std::make_shared<DecodeSteps>(*this);
}

int64_t CudaModel::workspace_bytes() const { return workspace_.bytes() + decode_steps_->bytes(); }

std::unique_ptr<DuoSession> CudaModel::open_session(std::shared_ptr<DuoModel> self, const SessionOptions &options, Task &task) {
  select_device();
  workspace_.release();
  return open_cuda_session(std::move(self), *this, options, task);
}

}  // namespace cuda

std::shared_ptr<DuoModel> open_cuda_model(const ModelConfig &config, std::shared_ptr<const WeightMap> weights, const OpenOptions &options, Task &task) {
  return std::make_shared<cuda::CudaModel>(config, std::move(weights), options, task);
}

}  // namespace duo
