// Weights of a test's model with some values changed.
#pragma once
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "core/tensor_names.h"
#include "core/weight_map.h"
#include "reference_transformer.h"

namespace duo::test {

// A model's weights as F32, some changed: change(name, values, rows) alters a tensor's values. The LM head is a tensor
// of its own even where it was the embedding.
class ChangedWeights : public WeightMap {
 public:
  using Change = std::function<void(const std::string &, std::vector<float> &, int64_t)>;
  ChangedWeights(ModelConfig config, const WeightMap &from, const Change &change) {
    const bool is_tied = config.tied_embeddings;
    config.tied_embeddings = false;
    for (const ExpectedTensor &tensor : list_expected_tensors(config)) {
      const Tensor &given =
          from.get(is_tied && tensor.name == "lm_head.weight" ? "model.embed_tokens.weight" : tensor.name);
      values_.emplace_back();
      for (int64_t i = 0; i < given.rows * given.columns; i++)
        values_.back().push_back(static_cast<float>(element(given, i)));
      change(tensor.name, values_.back(), given.rows);
      tensors_.emplace(tensor.name, Tensor{reinterpret_cast<const uint8_t *>(values_.back().data()), Dtype::f32,
                                           given.rows, given.columns});
    }
  }

 private:
  std::list<std::vector<float>> values_;
};

// What int8 weights stand for: every matrix's rows in steps of their largest over 127.
inline void round_to_int8(const std::string &, std::vector<float> &values, int64_t rows) {
  if (rows == 1) return;
  const size_t width = values.size() / static_cast<size_t>(rows);
  for (size_t row = 0; row < values.size(); row += width) {
    float largest = 0;
    for (size_t i = row; i < row + width; i++) largest = std::max(largest, std::fabs(values[i]));
    const float step = largest / 127;
    for (size_t i = row; i < row + width; i++) values[i] = std::nearbyint(values[i] / step) * step;
  }
}

}  // namespace duo::test
