// The small models that the tests of whole CUDA models open: shapes, and what changes a path.
#pragma once
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

}  // namespace duo::test
