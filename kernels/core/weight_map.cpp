// The tensor list of the Llama family, and its lookup in mapped safetensors or GGUF files.
#include "core/weight_map.h"

#include <cinttypes>
#include <cmath>
#include <cstring>

#include "core/gguf.h"
#include "core/gguf_names.h"
#include "core/mapped_file.h"
#include "core/safetensors.h"
#include "core/tensor_names.h"
#include "core/weight_values.h"

namespace duo {
namespace {

Dtype parse_weight_dtype(const std::string &dtype) {
  if (dtype == "F32") return Dtype::f32;
  if (dtype == "F16") return Dtype::f16;
  if (dtype == "BF16") return Dtype::bf16;
  return Dtype::stored;
}

std::string write_shape(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (const int64_t axis : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(axis);
  return text + "]";
}

class FileWeights : public WeightMap {
 public:
  FileWeights(const ModelConfig &config, const std::vector<std::string> &paths, Task &task)
      : head_dim_(config.head_dim) {
    std::unordered_map<std::string, ExpectedTensor> wanted;
    for (auto &tensor : list_expected_tensors(config)) wanted.emplace(tensor.name, tensor);
    for (const auto &path : paths) {
      task.check_abort();
      files_.push_back(std::make_unique<MappedFile>(path));
      if (is_gguf(files_.back()->data(), files_.back()->size())) {
        add_gguf(wanted, path);
        continue;
      }
      for (const auto &entry : parse_safetensors(files_.back()->data(), files_.back()->size(), path)) {
        const auto found = wanted.find(find_plain_name(entry.name));
        if (found != wanted.end()) add(entry, found->second, path);
      }
    }
    for (const auto &[name, tensor] : wanted) {
      if (tensors_.count(name) == 0) {
        fail(DUO_STATUS_FORMAT,
             "Expected tensor `%s` in the %zu weight file(s) given (first: `%.500s`), but it is in none", name.c_str(),
             paths.size(), paths.front().c_str());
      }
    }
    // In the order of the list, so that the same damaged file gives the same sentence.
    for (const auto &expected : list_expected_tensors(config))
      check_finite_values(expected.name, tensors_.at(expected.name), task);
    if (config.tied_embeddings) tensors_.emplace("lm_head.weight", tensors_.at("model.embed_tokens.weight"));
  }

 private:
  void add(const SafetensorsEntry &entry, const ExpectedTensor &expected, const std::string &path) {
    const std::vector<int64_t> shape = expected.rows == 1 ? std::vector<int64_t>{expected.columns}
                                                          : std::vector<int64_t>{expected.rows, expected.columns};
    // A matrix of one row keeps both axes in its file.
    if (entry.shape != shape && entry.shape != std::vector<int64_t>{expected.rows, expected.columns}) {
      fail(DUO_STATUS_SHAPE, "Expected tensor `%s` of `%.400s` to have shape %s, got %s", entry.name.c_str(),
           path.c_str(), write_shape(shape).c_str(), write_shape(entry.shape).c_str());
    }
    const Dtype dtype = parse_weight_dtype(entry.dtype);
    if (dtype == Dtype::stored) {
      fail(DUO_STATUS_FORMAT, "Expected tensor `%s` of `%.400s` to be F32, F16 or BF16, got %.40s", entry.name.c_str(),
           path.c_str(), entry.dtype.c_str());
    }
    const Tensor tensor{files_.back()->data() + entry.begin, dtype, expected.rows, expected.columns};
    if (!tensors_.emplace(expected.name, tensor).second) {
      fail(DUO_STATUS_FORMAT, "Expected tensor `%s` once in the weight files, but `%.400s` has it again as `%s`",
           expected.name.c_str(), path.c_str(), entry.name.c_str());
    }
  }

  // The first file of a split model names the architecture, the others have tensors alone.
  void add_gguf(const std::unordered_map<std::string, ExpectedTensor> &wanted, const std::string &path) {
    const GgufFile file = parse_gguf(files_.back()->data(), files_.back()->size(), path);
    if (!file.architecture.empty()) architecture_ = file.architecture;
    if (architecture_ != "llama" && architecture_ != "mistral" && architecture_ != "qwen2" &&
        architecture_ != "qwen3") {
      fail(DUO_STATUS_UNSUPPORTED,
           "Expected the GGUF file `%.500s` to be of architecture llama, mistral, qwen2 or qwen3, got `%.100s`",
           path.c_str(), architecture_.c_str());
    }
    for (const auto &tensor : file.tensors) {
      if (tensor.name == "rope_freqs.weight") add_rope_factors(tensor, path);
      const auto found = wanted.find(translate_gguf_name(tensor.name));
      if (found != wanted.end()) add(tensor, found->second, path);
    }
  }

  void add(const GgufTensor &found, const ExpectedTensor &expected, const std::string &path) {
    const std::vector<int64_t> shape = expected.rows == 1 ? std::vector<int64_t>{expected.columns}
                                                          : std::vector<int64_t>{expected.rows, expected.columns};
    if (found.shape != shape && found.shape != std::vector<int64_t>{expected.rows, expected.columns}) {
      fail(DUO_STATUS_SHAPE, "Expected tensor `%s` of `%.400s` to have shape %s, got %s", found.name.c_str(),
           path.c_str(), write_shape(shape).c_str(), write_shape(found.shape).c_str());
    }
    if (found.dtype == Dtype::stored) {
      fail(DUO_STATUS_UNSUPPORTED,
           "Expected tensor `%s` of `%.400s` to be F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K, got "
           "%s; use a file of one of those types",
           found.name.c_str(), path.c_str(), ggml_type_name(found.type).c_str());
    }
    Tensor tensor{files_.back()->data() + found.begin, found.dtype, expected.rows, expected.columns};
    if (has_paired_rows(architecture_, expected.name)) {
      // A bias has as many rows of one element.
      const int64_t rows = tensor.rows == 1 ? tensor.columns : tensor.rows;
      if (rows % head_dim_ != 0 || tensor.bytes() % rows != 0) {
        fail(DUO_STATUS_SHAPE, "Expected tensor `%s` of `%.400s` to have whole heads of %" PRId64 " rows, got shape %s",
             found.name.c_str(), path.c_str(), head_dim_, write_shape(found.shape).c_str());
      }
      moved_.emplace_back(new uint8_t[static_cast<size_t>(tensor.bytes())]);
      unpair_rows(tensor.data, rows, tensor.bytes() / rows, head_dim_, moved_.back().get());
      tensor.data = moved_.back().get();
    }
    if (!tensors_.emplace(expected.name, tensor).second) {
      fail(DUO_STATUS_FORMAT, "Expected tensor `%s` in one weight file, but `%.400s` has it again", found.name.c_str(),
           path.c_str());
    }
  }

  void add_rope_factors(const GgufTensor &tensor, const std::string &path) {
    if (tensor.dtype != Dtype::f32 || tensor.shape != std::vector<int64_t>{head_dim_ / 2}) {
      fail(DUO_STATUS_SHAPE,
           "Expected tensor `rope_freqs.weight` of `%.400s` to be F32 of shape [%" PRId64 "], got %s of %s",
           path.c_str(), head_dim_ / 2, ggml_type_name(tensor.type).c_str(), write_shape(tensor.shape).c_str());
    }
    rope_factors_.resize(static_cast<size_t>(head_dim_ / 2));
    std::memcpy(rope_factors_.data(), files_.back()->data() + tensor.begin, rope_factors_.size() * sizeof(float));
    for (const float factor : rope_factors_) {
      if (!std::isfinite(factor) || factor <= 0) {
        fail(DUO_STATUS_NUMERIC,
             "Expected tensor `rope_freqs.weight` of `%.400s` to hold finite numbers above 0, got %g", path.c_str(),
             static_cast<double>(factor));
      }
    }
  }

  int64_t head_dim_;
  std::string architecture_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<std::unique_ptr<uint8_t[]>> moved_;  // q and k of `llama` files in the order of Hugging Face
};

}  // namespace

const Tensor &WeightMap::get(const std::string &name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail(DUO_STATUS_FORMAT, "Expected the model to have tensor `%s`", name.c_str());
  return found->second;
}

int64_t WeightMap::total_bytes() const {
  int64_t total = 0;
  bool tied = false;
  const auto head = tensors_.find("lm_head.weight"), embedding = tensors_.find("model.embed_tokens.weight");
  if (head != tensors_.end() && embedding != tensors_.end()) tied = head->second.data == embedding->second.data;
  for (const auto &[name, tensor] : tensors_) total += tied && name == "lm_head.weight" ? 0 : tensor.bytes();
  return total;
}

std::vector<ExpectedTensor> list_expected_tensors(const ModelConfig &config) {
  std::vector<ExpectedTensor> list{{"model.embed_tokens.weight", config.vocab, config.hidden},
                                   {"model.norm.weight", 1, config.hidden}};
  if (!config.tied_embeddings) list.push_back({"lm_head.weight", config.vocab, config.hidden});
  for (int64_t layer = 0; layer < config.layers; layer++) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const auto linear = [&](const char *name, int64_t out, int64_t in, bool bias) {
      list.push_back({prefix + name + ".weight", out, in});
      if (bias) list.push_back({prefix + name + ".bias", 1, out});
    };
    list.push_back({prefix + "input_layernorm.weight", 1, config.hidden});
    list.push_back({prefix + "post_attention_layernorm.weight", 1, config.hidden});
    linear("self_attn.q_proj", config.query_width(), config.hidden, config.qkv_bias);
    linear("self_attn.k_proj", config.kv_width(), config.hidden, config.qkv_bias);
    linear("self_attn.v_proj", config.kv_width(), config.hidden, config.qkv_bias);
    linear("self_attn.o_proj", config.hidden, config.query_width(), config.output_bias);
    if (config.qk_norm) {
      list.push_back({prefix + "self_attn.q_norm.weight", 1, config.head_dim});
      list.push_back({prefix + "self_attn.k_norm.weight", 1, config.head_dim});
    }
    linear("mlp.gate_proj", config.intermediate, config.hidden, config.mlp_bias);
    linear("mlp.up_proj", config.intermediate, config.hidden, config.mlp_bias);
    linear("mlp.down_proj", config.hidden, config.intermediate, config.mlp_bias);
  }
  return list;
}

std::shared_ptr<const WeightMap> open_weight_files(const ModelConfig &config, const std::vector<std::string> &paths,
                                                   Task &task) {
  return std::make_shared<FileWeights>(config, paths, task);
}

}  // namespace duo
