// The checked shape of a model, made from the ABI's struct. Every count is bounded here, so that products of counts fit
// int64_t.
#pragma once
#include <cstdint>
#include <vector>

#include "duo.h"

namespace duo {

struct ModelConfig {
  int64_t layers, heads, kv_heads, head_dim, hidden, intermediate, vocab, max_positions;
  float rms_norm_eps;
  bool tied_embeddings, qkv_bias, output_bias, mlp_bias, qk_norm;
  int32_t rope_type;
  double rope_theta, rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_beta_fast, rope_beta_slow,
      rope_attention_factor;
  int64_t rope_original_max_positions;
  bool rope_truncate;
  std::vector<float>
      rope_factors;  // [D/2] from a GGUF file, or empty: divides the inverse frequencies of DUO_ROPE_NONE

  int64_t group() const { return heads / kv_heads; }
  int64_t query_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  int64_t num_gates() const { return layers * kv_heads; }
};

// Check every field; throws Error NULL, ARGUMENT or SHAPE that names the field.
ModelConfig check_config(const duo_model_config_t *config);

}  // namespace duo
