// Opening a model on the GPU: its matrices in the format asked for, of products with one input joined into one.
// f16_weights.cu makes their f16 twins, where something measures.
#include "cuda/cuda_model.h"

#include "cuda/decode_steps.h"
#include "cuda/instances.h"
#include "cuda/layer_ops.h"
#include "cuda/uploader.h"

namespace duo {
namespace cuda {
namespace {

constexpr double MAX_FREE_MEMORY_SHARE = 0.95;  // the rest is for what an estimate does not see

// What a matrix becomes. `asked`: bf16, int8, int4, or stored: blocks stay blocks.
WeightFormat choose_format(const std::vector<const Tensor *> &parts, Dtype asked) {
  if (asked == Dtype::int8) return WeightFormat::int8;
  if (asked == Dtype::int4) return WeightFormat::int4;
  if (asked != Dtype::stored) return WeightFormat::bf16;
  std::vector<Dtype> dtypes;
  for (const Tensor *part : parts) dtypes.push_back(part->dtype);
  return join_formats(dtypes);
}

std::vector<const Tensor *> list_biases(const WeightMap &weights, const std::vector<std::string> &names) {
  std::vector<const Tensor *> biases;
  for (const auto &name : names) biases.push_back(&weights.get(name + ".bias"));
  return biases;
}

// Rows of several tensors, one tensor after another.
DeviceMatrix upload_matrix(Uploader &uploader, const WeightMap &weights, const std::vector<std::string> &names,
                           bool bias, Dtype asked) {
  DeviceMatrix matrix;
  std::vector<const Tensor *> parts;
  for (const auto &name : names) {
    parts.push_back(&weights.get(name + ".weight"));
    matrix.rows += parts.back()->rows;
    matrix.columns = parts.back()->columns;
  }
  matrix.format = choose_format(parts, asked);
  if (bias) matrix.bias = uploader.upload_vector(list_biases(weights, names));
  const PackedShape shape = matrix.shape();
  if (has_groups(matrix.format)) {
    matrix.codes.resize(shape.code_bytes());
    matrix.scales.resize(shape.scale_words());
  }
  int64_t row = 0;
  if (has_groups(matrix.format) && asked == Dtype::stored) {
    for (size_t i = 0; i < parts.size(); row += parts[i++]->rows) {
      if (row % SCALE_ROWS != 0)
        fail(DUO_STATUS_UNSUPPORTED, "Expected tensor `%s.weight` to follow a multiple of 8 rows on CUDA, got %lld",
             names[i].c_str(), static_cast<long long>(row));
      const bool is_finite =
          uploader.upload_packed(*parts[i], matrix.format, matrix.codes.data() + row * shape.row_bytes(),
                                 matrix.scales.data() + row * shape.row_words());
      if (!is_finite) {
        fail(DUO_STATUS_UNSUPPORTED,
             "Expected scales within fp16's range in tensor `%s.weight` to keep its blocks on CUDA, got a greater one: "
             "open it as bf16",
             names[i].c_str());
      }
    }
    return matrix;
  }
  DeviceBuffer<bf16> values(matrix.rows * matrix.columns);
  for (const Tensor *part : parts) {
    uploader.upload(*part, values.data() + row * matrix.columns);
    row += part->rows;
  }
  const cudaStream_t stream = uploader.stream().get();
  if (matrix.format == WeightFormat::bf16) {
    matrix.values = std::move(values);
  } else if (matrix.format == WeightFormat::int8) {
    matrix.codes.resize(values.count());
    matrix.row_scale.resize(matrix.rows);
    check(launch_quantize_rows(values.data(), matrix.rows, matrix.columns,
                               reinterpret_cast<int8_t *>(matrix.codes.data()), matrix.row_scale.data(), stream),
          "quantising weights");
    uploader.stream().wait();
  } else {
    DeviceBuffer<int32_t> bad(1);
    clear(bad, uploader.stream());
    check(launch_quantize_groups(values.data(), shape, matrix.codes.data(), matrix.scales.data(), bad.data(), stream),
          "quantising weights");
    int32_t is_bad = 0;
    copy_to_host(&is_bad, bad.data(), 1, uploader.stream());
    if (is_bad != 0)
      fail(DUO_STATUS_NUMERIC,
           "Expected weights within fp16's range in `%s.weight` for 4 bits, got greater ones: open it as bf16 or int8",
           names.front().c_str());
  }
  return matrix;
}

// The matrices of a layer whose names begin with `at`, by the tensors that each joins, in DeviceLayer::matrices()'
// order.
std::vector<std::vector<std::string>> name_products(const std::string &at) {
  return {{at + "self_attn.q_proj", at + "self_attn.k_proj", at + "self_attn.v_proj"},
          {at + "self_attn.o_proj"},
          {at + "mlp.gate_proj", at + "mlp.up_proj"},
          {at + "mlp.down_proj"}};
}

// Bytes of the matrix that upload_matrix makes, without its bias.
int64_t count_matrix(const WeightMap &weights, const std::vector<std::string> &names, Dtype asked) {
  std::vector<const Tensor *> parts;
  PackedShape shape{};
  for (const auto &name : names) {
    parts.push_back(&weights.get(name + ".weight"));
    shape.rows += parts.back()->rows;
    shape.columns = parts.back()->columns;
  }
  shape.format = choose_format(parts, asked);
  const int64_t elements = shape.rows * shape.columns;
  if (shape.format == WeightFormat::bf16) return elements * static_cast<int64_t>(sizeof(bf16));
  if (shape.format == WeightFormat::int8) return elements + shape.rows * static_cast<int64_t>(sizeof(float));
  return shape.code_bytes() + shape.scale_words() * static_cast<int64_t>(sizeof(uint32_t));
}

// Device memory of the longest pass to come, without memory that only saves time.
int64_t count_next_pass(const ModelConfig &config, const OpenOptions &options) {
  const int64_t tokens = options.pass_tokens, positions = std::max<int64_t>(1, tokens / 8);
  if (tokens == 0) return 0;
  const auto count = [&](PassRole role) { return PassMemory::count_bytes(config, {tokens, positions, role}); };
  switch (options.next_pass) {
    case DUO_PASS_FORWARD: return count(PassRole::forward);
    case DUO_PASS_DISTILL: return count(PassRole::distill);
    case DUO_PASS_MEASURE: return count(PassRole::probe) + count(PassRole::forward);
    default: return 0;
  }
}

// For the device's description: the weight formats other than bf16.
std::string describe_weights(Dtype asked, const WeightMap &weights) {
  if (asked == Dtype::int8) return " int8 weights";
  if (asked == Dtype::int4) return " int4 weights";
  const bool is_packed =
      asked == Dtype::stored && has_groups(format_of_blocks(weights.get("model.layers.0.mlp.gate_proj.weight").dtype));
  return is_packed
             ? std::string(" ") + dtype_name(weights.get("model.layers.0.mlp.gate_proj.weight").dtype) + " weights"
             : "";
}

void require_supported(const ModelConfig &config, const OpenOptions &options) {
  const int64_t step = options.weight_dtype == Dtype::int4 ? 32 : options.weight_dtype == Dtype::int8 ? 16 : 8;
  if (!HeadDims::contains(config.head_dim)) {
    fail(DUO_STATUS_UNSUPPORTED, "Expected `head_dim` on CUDA to be one of %s, got `%lld`: use device cpu",
         HeadDims::list().c_str(), static_cast<long long>(config.head_dim));
  }
  if (config.hidden % step != 0 || config.intermediate % step != 0 || config.query_width() % step != 0) {
    fail(DUO_STATUS_UNSUPPORTED,
         "Expected `hidden`, `intermediate` and `heads` times `head_dim` to be multiples of %lld on CUDA, got `%lld`, "
         "`%lld` and `%lld`",
         static_cast<long long>(step), static_cast<long long>(config.hidden),
         static_cast<long long>(config.intermediate), static_cast<long long>(config.query_width()));
  }
  if (options.weight_dtype != Dtype::stored && options.weight_dtype != Dtype::bf16 &&
      options.weight_dtype != Dtype::int8 && options.weight_dtype != Dtype::int4 &&
      options.weight_dtype != Dtype::f32) {
    fail(DUO_STATUS_UNSUPPORTED, "Expected `weight_dtype` on CUDA to be as stored, BF16, INT8 or INT4, got code `%d`",
         static_cast<int>(options.weight_dtype));
  }
}

}  // namespace

CudaModel::CudaModel(const ModelConfig &config, std::shared_ptr<const WeightMap> weight_map, const OpenOptions &options,
                     Task &task)
    : config_(config),
      weights_(std::move(weight_map)),
      device_index_(options.device_index),
      algebra_(options.device_index) {
  const WeightMap &weights = *weights_;
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || options.device_index >= num_devices) {
    fail(DUO_STATUS_CUDA, "Expected device `cuda:%d`, found %d usable CUDA devices: %s", options.device_index,
         num_devices, describe_cuda_devices().front().reason.c_str());
  }
  require_supported(config, options);
  select_device();
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device_index_), "asking for the device's properties");
  device_size_ = {properties.multiProcessorCount, static_cast<int64_t>(properties.sharedMemPerBlockOptin)};
  // Only the layers take 4 bits: embeddings and the LM head matter most for a small model's loss, and least for a large
  // one's memory.
  const Dtype asked = options.weight_dtype, asked_ends = asked == Dtype::int4 ? Dtype::int8 : asked;
  device_ = "cuda:" + std::to_string(device_index_) + " " + properties.name + " sm_" +
            std::to_string(properties.major) + std::to_string(properties.minor) + describe_weights(asked, weights) +
            ", " + algebra_.description();

  const bool to_host = chooses_host(options);
  task.set_total(config_.layers + 1);
  Uploader uploader(task);
  const auto vector = [&](const std::string &name) { return uploader.upload_vector({&weights.get(name)}); };
  embedding_ = upload_matrix(uploader, weights, {"model.embed_tokens"}, false, asked_ends);
  final_norm_ = vector("model.norm.weight");
  if (!config_.tied_embeddings) lm_head_ = upload_matrix(uploader, weights, {"lm_head"}, false, asked_ends);
  task.add_done();
  for (int64_t index = 0; index < config_.layers; index++) {
    upload_layer(uploader, index, asked, to_host);
    weight_bytes_ += layers_.description(index).bytes();
    task.add_done();
  }
  layers_.finish();
  end_bytes_ = embedding_.bytes() + final_norm_.bytes() + lm_head_.bytes();
  weight_bytes_ += end_bytes_;
  uploader.stream().wait();
  decode_steps_ = std::make_shared<DecodeSteps>(*this);
}

void CudaModel::upload_layer(Uploader &uploader, int64_t index, Dtype asked, bool to_host) {
  const std::string at = "model.layers." + std::to_string(index) + ".";
  const auto vector = [&](const std::string &name) { return uploader.upload_vector({&weights_->get(at + name)}); };
  DeviceLayer layer;
  layer.input_norm = vector("input_layernorm.weight");
  layer.post_attention_norm = vector("post_attention_layernorm.weight");
  if (config_.qk_norm) {
    layer.query_norm = vector("self_attn.q_norm.weight");
    layer.key_norm = vector("self_attn.k_norm.weight");
  }
  const bool biases[] = {config_.qkv_bias, config_.output_bias, config_.mlp_bias, config_.mlp_bias};
  std::vector<const uint8_t *> tensors;
  for (const auto &names : name_products(at)) {
    for (const std::string &name : names) tensors.push_back(weights_->get(name + ".weight").data);
  }
  const bool is_shared = to_host && layers_.is_shared(tensors);
  size_t next = 0;
  for (const auto &names : name_products(at)) {
    DeviceMatrix &matrix = *layer.matrices()[next];
    if (!is_shared) {
      matrix = upload_matrix(uploader, *weights_, names, biases[next], asked);
    } else if (biases[next]) {
      matrix.bias = uploader.upload_vector(list_biases(*weights_, names));
    }
    next++;
  }
  if (to_host) return layers_.add_to_host(std::move(layer), tensors, uploader.stream());
  layers_.add(std::move(layer));
}

// Weights that do not fit on the card together with what comes next go to the host, unless the caller chose a place.
bool CudaModel::chooses_host(const OpenOptions &options) const {
  if (options.weights_on != DUO_WEIGHTS_AUTO) return options.weights_on == DUO_WEIGHTS_HOST;
  const Dtype asked = options.weight_dtype, asked_ends = asked == Dtype::int4 ? Dtype::int8 : asked;
  int64_t bytes = count_matrix(*weights_, {"model.embed_tokens"}, asked_ends);
  if (!config_.tied_embeddings) bytes += count_matrix(*weights_, {"lm_head"}, asked_ends);
  int64_t elements = config_.vocab * config_.hidden * (config_.tied_embeddings ? 1 : 2);
  for (int64_t index = 0; index < config_.layers; index++) {
    for (const auto &names : name_products("model.layers." + std::to_string(index) + ".")) {
      bytes += count_matrix(*weights_, names, asked);
      for (const std::string &name : names) {
        const Tensor &tensor = weights_->get(name + ".weight");
        elements += tensor.rows * tensor.columns;
      }
    }
  }
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
  const int64_t twins = options.next_pass == DUO_PASS_MEASURE ? elements * static_cast<int64_t>(sizeof(uint16_t)) : 0;
  const int64_t beside = options.beside_bytes + count_next_pass(config_, options) + algebra_.workspace_bytes();
  return static_cast<double>(bytes + twins + beside) > MAX_FREE_MEMORY_SHARE * static_cast<double>(free_bytes);
}

StreamedWeights CudaModel::streamed_weights() const {
  if (!layers_.streams()) return {};
  return {layers_.streamed_bytes(), layers_.pinned_bytes(), device_weight_bytes(), layers_.copied_bytes()};
}

int64_t CudaModel::device_weight_bytes() const { return end_bytes_ + layers_.device_bytes(); }

int64_t CudaModel::workspace_bytes() const { return workspace_.bytes() + decode_steps_->bytes(); }

void CudaModel::embed(const int32_t *tokens, int64_t count, float *x, const Stream &stream, Half half) const {
  const bool is_f16 = half == Half::f16;
  const cudaError_t error =
      !is_f16 && embedding_.format != WeightFormat::bf16
          ? launch_embed_packed(tokens, embedding_.packed(), count, x, stream.get())
          : launch_embed(tokens, is_f16 ? embedding_.f16.values.data() : embedding_.values.data(), count,
                         config_.hidden, x, stream.get(), half, is_f16 ? embedding_.f16.unit : 1.0f);
  check(error, "reading embeddings");
}

std::unique_ptr<DuoSession> CudaModel::open_session(std::shared_ptr<DuoModel> self, const SessionOptions &options,
                                                    Task &task) {
  select_device();
  workspace_.release();
  return open_cuda_session(std::move(self), *this, options, task);
}

}  // namespace cuda

std::shared_ptr<DuoModel> open_cuda_model(const ModelConfig &config, std::shared_ptr<const WeightMap> weights,
                                          const OpenOptions &options, Task &task) {
  return std::make_shared<cuda::CudaModel>(config, std::move(weights), options, task);
}

}  // namespace duo
