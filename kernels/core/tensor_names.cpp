// Prefixes: transformers 5 and 4 in a wrapper, a trainer's field, bare, saved without its output layer; before them
// those of data-parallel training and PEFT, and torch.compile's anywhere.
#include "core/tensor_names.h"

#include <cstring>

namespace duo {
namespace {

const char *const PREFIXES[] = {
    "model.language_model.", "language_model.model.", "language_model.", "model.model.", "model.", ""};
const char *const SAVED_PREFIXES[] = {"module.", "base_model.model."};
const char *const PARTS[] = {
    "input_layernorm",  "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "self_attn.q_norm",         "self_attn.k_norm", "mlp.gate_proj",    "mlp.up_proj",
    "mlp.down_proj"};

bool starts_with(const std::string &text, const char *start) { return text.compare(0, std::strlen(start), start) == 0; }

// "layers.<digits>.<part>.weight" or ".bias", or a tensor that does not repeat by layer.
bool is_read(const std::string &part) {
  if (part == "embed_tokens.weight" || part == "norm.weight") return true;
  if (!starts_with(part, "layers.")) return false;
  size_t at = 7;
  while (at < part.size() && part[at] >= '0' && part[at] <= '9') at++;
  const size_t end = part.rfind('.');
  if (at == 7 || at >= part.size() || part[at] != '.' || end <= at) return false;
  const std::string kind = part.substr(end), name = part.substr(at + 1, end - at - 1);
  if (kind != ".weight" && kind != ".bias") return false;
  for (const char *known : PARTS) {
    if (name == known) return true;
  }
  return false;
}

}  // namespace

std::string find_plain_name(const std::string &stored) {
  const std::string compiled = "_orig_mod.";
  std::string name;
  for (size_t at = 0; at < stored.size();) {
    if (stored.compare(at, compiled.size(), compiled) == 0) {
      at += compiled.size();
    } else {
      name += stored[at++];
    }
  }
  for (const char *prefix : SAVED_PREFIXES) {
    if (starts_with(name, prefix)) name.erase(0, std::strlen(prefix));
  }
  for (const char *prefix : PREFIXES) {
    if (!starts_with(name, prefix)) continue;
    const std::string part = name.substr(std::strlen(prefix));
    if (part == "lm_head.weight") return part;
    if (is_read(part)) return "model." + part;
  }
  return "";
}

}  // namespace duo
