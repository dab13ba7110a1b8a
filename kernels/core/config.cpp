// Bounds of every field of a model's shape. The limits are far above any published model and far below overflow.
#include "core/config.h"

#include <cinttypes>
#include <cmath>

#include "core/error.h"

namespace duo {
namespace {

int64_t check_count(const char *name, int64_t value, int64_t limit) {
  if (value < 1 || value > limit) {
    fail(DUO_STATUS_ARGUMENT, "Expected `%s` to be an integer of 1 to %" PRId64 ", got `%" PRId64 "`", name, limit,
         value);
  }
  return value;
}

bool check_flag(const char *name, int32_t value) {
  if (value != 0 && value != 1) fail(DUO_STATUS_ARGUMENT, "Expected `%s` to be 0 or 1, got `%d`", name, value);
  return value == 1;
}

double check_positive(const char *name, double value) {
  if (!(value > 0) || !std::isfinite(value)) {
    fail(DUO_STATUS_ARGUMENT, "Expected `%s` to be a finite number above 0, got `%g`", name, value);
  }
  return value;
}

}  // namespace

ModelConfig check_config(const duo_model_config_t *config) {
  if (config == nullptr) fail(DUO_STATUS_NULL, "Expected `config` to be a pointer, got null");
  if (config->struct_bytes != static_cast<int64_t>(sizeof(duo_model_config_t))) {
    fail(DUO_STATUS_ARGUMENT,
         "Expected `struct_bytes` to be %zu, got `%" PRId64 "`: the library and its caller differ in version",
         sizeof(duo_model_config_t), config->struct_bytes);
  }
  ModelConfig out{};
  out.layers = check_count("layers", config->layers, 1024);
  out.heads = check_count("heads", config->heads, 1024);
  out.kv_heads = check_count("kv_heads", config->kv_heads, 1024);
  out.head_dim = check_count("head_dim", config->head_dim, 512);
  out.hidden = check_count("hidden", config->hidden, 65536);
  out.intermediate = check_count("intermediate", config->intermediate, 1 << 20);
  out.vocab = check_count("vocab", config->vocab, 1 << 22);
  out.max_positions = check_count("max_positions", config->max_positions, int64_t{1} << 30);
  if (out.heads % out.kv_heads != 0) {
    fail(DUO_STATUS_SHAPE, "Expected `heads` to be a multiple of `kv_heads`, got `%d` and `%d`", config->heads,
         config->kv_heads);
  }
  if (out.head_dim % 2 != 0) fail(DUO_STATUS_SHAPE, "Expected `head_dim` to be even, got `%d`", config->head_dim);
  if (!(config->rms_norm_eps >= 0) || config->rms_norm_eps > 1) {
    fail(DUO_STATUS_ARGUMENT, "Expected `rms_norm_eps` to be 0 to 1, got `%g`", config->rms_norm_eps);
  }
  out.rms_norm_eps = static_cast<float>(config->rms_norm_eps);
  out.tied_embeddings = check_flag("tied_embeddings", config->tied_embeddings);
  out.qkv_bias = check_flag("qkv_bias", config->qkv_bias);
  out.output_bias = check_flag("output_bias", config->output_bias);
  out.mlp_bias = check_flag("mlp_bias", config->mlp_bias);
  out.qk_norm = check_flag("qk_norm", config->qk_norm);
  out.rope_theta = check_positive("rope_theta", config->rope_theta);
  out.rope_type = config->rope_type;
  if (out.rope_type < DUO_ROPE_NONE || out.rope_type > DUO_ROPE_YARN) {
    fail(DUO_STATUS_ARGUMENT, "Expected `rope_type` to be a DUO_ROPE_ code, got `%d`", config->rope_type);
  }
  if (out.rope_type != DUO_ROPE_NONE) out.rope_factor = check_positive("rope_factor", config->rope_factor);
  if (out.rope_type >= DUO_ROPE_DYNAMIC) {
    out.rope_original_max_positions =
        check_count("rope_original_max_positions", config->rope_original_max_positions, int64_t{1} << 30);
  }
  if (out.rope_type == DUO_ROPE_LLAMA3) {
    out.rope_low_freq_factor = check_positive("rope_low_freq_factor", config->rope_low_freq_factor);
    out.rope_high_freq_factor = check_positive("rope_high_freq_factor", config->rope_high_freq_factor);
    if (!(out.rope_high_freq_factor > out.rope_low_freq_factor)) {
      fail(DUO_STATUS_ARGUMENT, "Expected `rope_high_freq_factor` above `rope_low_freq_factor`, got `%g` and `%g`",
           out.rope_high_freq_factor, out.rope_low_freq_factor);
    }
  }
  if (out.rope_type == DUO_ROPE_YARN) {
    out.rope_beta_fast = check_positive("rope_beta_fast", config->rope_beta_fast);
    out.rope_beta_slow = check_positive("rope_beta_slow", config->rope_beta_slow);
    out.rope_attention_factor = check_positive("rope_attention_factor", config->rope_attention_factor);
    out.rope_truncate = check_flag("rope_truncate", config->rope_truncate);
  }
  return out;
}

}  // namespace duo
