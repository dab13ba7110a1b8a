// Every tensor that a model's shape implies, by Hugging Face name: inside mapped safetensors or GGUF files, or random
// for benches. Shapes and dtypes are checked here once; backends then read the bytes as they are.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/config.h"
#include "core/dtype.h"
#include "core/gguf_blocks.h"
#include "core/task.h"

namespace duo {

// Bytes of one tensor, row-major, little-endian, not necessarily aligned to the element size (safetensors promises no
// alignment). A quantised tensor is a matrix whose rows are whole blocks, aligned to 2 bytes at least (gguf_blocks.h).
struct Tensor {
  const uint8_t *data = nullptr;
  Dtype dtype = Dtype::f32;
  int64_t rows = 0;     // 1 for a vector
  int64_t columns = 0;  // elements of a row
  int64_t row_bytes() const { return columns / block_elements(dtype) * block_bytes(dtype); }
  int64_t bytes() const { return rows * row_bytes(); }
};

class WeightMap {
 public:
  virtual ~WeightMap() = default;
  // The tensor, or throws Error FORMAT that names it. With tied embeddings "lm_head.weight" is
  // model.embed_tokens.weight.
  const Tensor &get(const std::string &name) const;
  int64_t total_bytes() const;
  // [D/2], by which inverse frequencies are divided (rope_freqs.weight of a GGUF file); empty where the files have
  // none.
  const std::vector<float> &rope_factors() const { return rope_factors_; }

 protected:
  std::unordered_map<std::string, Tensor> tensors_;
  std::vector<float> rope_factors_;
};

struct ExpectedTensor {
  std::string name;
  int64_t rows, columns;  // rows 1 for a vector
};

// All tensors the shape implies; lm_head.weight is absent when tied.
std::vector<ExpectedTensor> list_expected_tensors(const ModelConfig &config);

// Map and check safetensors shards or GGUF files (distinguished by their first bytes), every value included.
// Throws FILE, FORMAT, SHAPE, NUMERIC, UNSUPPORTED, ABORTED.
std::shared_ptr<const WeightMap> open_weight_files(const ModelConfig &config, const std::vector<std::string> &paths,
                                                   Task &task);

// Seeded random weights in host memory, f32 or bf16: element i of a tensor depends only on seed, the tensor's name and
// i. distinct_layers: layer n has the memory of layer n mod distinct_layers; 0: each its own.
std::shared_ptr<const WeightMap> make_random_weights(const ModelConfig &config, uint64_t seed, Dtype dtype, Task &task,
                                                     int64_t distinct_layers = 0);

}  // namespace duo
