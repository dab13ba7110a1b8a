// The small models that the tests of whole CUDA models open: shapes, and what changes a path.
#pragma once
#include <memory>

#include "changed_weights.h"
#include "core/backend.h"
#include "core/config.h"
#include "core/dtype.h"
#include "duo.h"

namespace duo::test {

struct Case {
  const char *name;
  int64_t layers, heads, kv_heads, head_dim, hidden, intermediate, vocab, tokens;
  bool qk_norm, bias, tied;
  Dtype weights;
};

inline ModelConfig make_config(const Case &c) {
  ModelConfig config{};
  config.layers = c.layers, config.heads = c.heads, config.kv_heads = c.kv_heads, config.head_dim = c.head_dim;
  config.hidden = c.hidden, config.intermediate = c.intermediate, config.vocab = c.vocab, config.max_positions = 64;
  config.rms_norm_eps = 1e-5f;
  config.tied_embeddings = c.tied, config.qkv_bias = config.output_bias = config.mlp_bias = c.bias,
  config.qk_norm = c.qk_norm;
  config.rope_type = c.bias ? DUO_ROPE_DYNAMIC : DUO_ROPE_NONE;
  config.rope_factor = 2.0;
  config.rope_original_max_positions = 32;
  config.rope_theta = 10000.0;
  return config;
}

// One model on both devices. The CPU runs in fp32 on what the GPU's bf16 or int8 weights stand for.
struct ModelPair {
  std::shared_ptr<DuoModel> cpu, gpu;
};
inline ModelPair open_pair(const Case &c, uint64_t seed, Task &task) {
  const ModelConfig config = make_config(c);
  const auto weights = make_random_weights(config, seed, Dtype::bf16, task);
  const bool is_int8 = c.weights == Dtype::int8;
  ModelConfig cpu_config = config;
  cpu_config.tied_embeddings = config.tied_embeddings && !is_int8;
  const std::shared_ptr<const WeightMap> cpu_weights =
      is_int8 ? std::make_shared<ChangedWeights>(config, *weights, round_to_int8) : weights;
  return {open_cpu_model(cpu_config, cpu_weights, {0, "", 2, Dtype::stored, DUO_COMPUTE_ACCURATE}, task),
          open_cuda_model(config, weights, {0, "", 0, c.weights, DUO_COMPUTE_ACCURATE}, task)};
}

}  // namespace duo::test
