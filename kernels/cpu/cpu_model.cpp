// Opening a model on the CPU: views of the mapped weights, norms and biases widened once.
#include "cpu/cpu_model.h"

#include "core/gram.h"
#include "cpu/cpu_features.h"
#include "cpu/kl_metric.h"

namespace duo {
namespace {

std::vector<float> widen_vector(const SimdOps &ops, const Tensor &tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.rows * tensor.columns));
  if (is_quantized(tensor.dtype)) {
    dequantize(tensor.dtype, tensor.data, tensor.rows * tensor.columns, out.data());
  } else {
    ops.widen(static_cast<int32_t>(tensor.dtype), tensor.data, tensor.rows * tensor.columns, out.data());
  }
  return out;
}

}  // namespace

CpuModel::CpuModel(const ModelConfig &config, std::shared_ptr<const WeightMap> weights, const OpenOptions &options)
    : config_(config), weights_(std::move(weights)), ops_(choose_simd_ops(options.variant)), compute_(options.compute) {
  pool_ = std::make_unique<ThreadPool>(options.num_threads == 0 ? count_usable_cpus() : options.num_threads);
  const auto vector = [&](const std::string &name) { return widen_vector(ops_, weights_->get(name)); };
  const auto linear = [&](const std::string &name, bool bias) {
    return Linear{weights_->get(name + ".weight"), bias ? vector(name + ".bias") : std::vector<float>{}};
  };
  embedding_ = weights_->get("model.embed_tokens.weight");
  final_norm_ = vector("model.norm.weight");
  lm_head_ = linear("lm_head", false);
  for (int64_t index = 0; index < config_.layers; index++) {
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    CpuLayer layer;
    layer.input_norm = vector(prefix + "input_layernorm.weight");
    layer.post_attention_norm = vector(prefix + "post_attention_layernorm.weight");
    if (config_.qk_norm) {
      layer.query_norm = vector(prefix + "self_attn.q_norm.weight");
      layer.key_norm = vector(prefix + "self_attn.k_norm.weight");
    }
    layer.query = linear(prefix + "self_attn.q_proj", config_.qkv_bias);
    layer.key = linear(prefix + "self_attn.k_proj", config_.qkv_bias);
    layer.value = linear(prefix + "self_attn.v_proj", config_.qkv_bias);
    layer.output = linear(prefix + "self_attn.o_proj", config_.output_bias);
    layer.gate = linear(prefix + "mlp.gate_proj", config_.mlp_bias);
    layer.up = linear(prefix + "mlp.up_proj", config_.mlp_bias);
    layer.down = linear(prefix + "mlp.down_proj", config_.mlp_bias);
    layers_.push_back(std::move(layer));
  }
  pack_quantized();
}

void CpuModel::pack_quantized() {
  std::vector<Linear *> quantized;
  const auto add = [&](Linear &linear) {
    if (!is_quantized(linear.weight.dtype)) return;
    quantized.push_back(&linear);
    panel_bytes_ += count_panel_bytes(linear.weight);
  };
  for (CpuLayer &layer : layers_) {
    for (Linear *linear : {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down})
      add(*linear);
  }
  add(lm_head_);
  if (quantized.empty()) return;
  panels_ = std::make_unique<PageBlock>(panel_bytes_);
  uint8_t *to = panels_->data();
  for (Linear *linear : quantized) {
    linear->panels = pack_panels(*pool_, linear->weight, to);
    to += count_panel_bytes(linear->weight);
  }
}

std::string CpuModel::device() const {
  const std::string name = std::string("cpu ") + ops_.name;
  if (compute_ == DUO_COMPUTE_BF16) return name + (choose_bf16_ops(ops_) != nullptr ? " bf16" : " bf16-rounded");
  if (compute_ == DUO_COMPUTE_INT8) return name + " int8 activations (" + choose_block_ops(ops_).name + ")";
  return name;
}

int64_t CpuModel::weight_bytes() const { return weights_->total_bytes() + panel_bytes_; }

void CpuModel::use_kl_metric(const float *reference, const float *anchor, int64_t num_positions, Task &task,
                             const std::function<void(const KlMetric &)> &body) {
  const CpuContext accurate{*pool_, ops_, DUO_COMPUTE_ACCURATE, &task};
  body(CpuKlMetric(accurate, lm_head_, reference, anchor, num_positions));
}

std::unique_ptr<DuoSession> CpuModel::open_session(std::shared_ptr<DuoModel> self, const SessionOptions &options,
                                                   Task &task) {
  return open_cpu_session(std::move(self), *this, options, task);
}

std::shared_ptr<DuoModel> open_cpu_model(const ModelConfig &config, std::shared_ptr<const WeightMap> weights,
                                         const OpenOptions &options, Task &task) {
  task.check_abort();
  return std::make_shared<CpuModel>(config, std::move(weights), options);
}

void CpuModel::gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, double scale,
                    Task &task, double *gram, int64_t gram_stride) {
  accumulate_gram(a, num_a, b, num_b, length, scale, static_cast<int32_t>(pool_->num_threads()), task, gram,
                  gram_stride);
}

}  // namespace duo
