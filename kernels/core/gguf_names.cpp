// Names: gguf-py's tensor_mapping.py. Row order: `LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py,
// reversed.
#include "core/gguf_names.h"

#include <cstring>

namespace duo {
namespace {

const struct {
  const char *gguf, *hugging_face;
} PARTS[] = {
    {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

bool ends_with(const std::string &text, const char *end) {
  const size_t length = std::strlen(end);
  return text.size() >= length && text.compare(text.size() - length, length, end) == 0;
}

}  // namespace

std::string translate_gguf_name(const std::string &name) {
  if (name == "token_embd.weight") return "model.embed_tokens.weight";
  if (name == "output_norm.weight") return "model.norm.weight";
  if (name == "output.weight") return "lm_head.weight";
  if (name.compare(0, 4, "blk.") != 0) return "";
  const size_t layer_end = name.find('.', 4), part_end = name.rfind('.');
  if (layer_end == std::string::npos || part_end <= layer_end) return "";
  const std::string layer = name.substr(4, layer_end - 4), part = name.substr(layer_end + 1, part_end - layer_end - 1),
                    kind = name.substr(part_end);
  if (kind != ".weight" && kind != ".bias") return "";
  for (const auto &known : PARTS) {
    if (part == known.gguf) return "model.layers." + layer + "." + known.hugging_face + kind;
  }
  return "";
}

bool has_paired_rows(const std::string &architecture, const std::string &name) {
  if (architecture != "llama") return false;
  return ends_with(name, ".q_proj.weight") || ends_with(name, ".k_proj.weight") || ends_with(name, ".q_proj.bias") ||
         ends_with(name, ".k_proj.bias");
}

void unpair_rows(const uint8_t *from, int64_t rows, int64_t row_bytes, int64_t head_dim, uint8_t *to) {
  for (int64_t row = 0; row < rows; row++) {
    const int64_t head = row / head_dim, at = row % head_dim, half = head_dim / 2;
    const int64_t source = head * head_dim + (at < half ? 2 * at : 2 * (at - half) + 1);
    std::memcpy(to + row * row_bytes, from + source * row_bytes, static_cast<size_t>(row_bytes));
  }
}

}  // namespace duo
