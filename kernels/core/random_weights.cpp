// Seeded random weights for benches: the same numbers on every device, filled by all cores since a named shape has
// billions of them.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "core/weight_map.h"

namespace duo {
namespace {

uint64_t mix(uint64_t value) {  // splitmix64's finaliser
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

bool ends_with(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// A sum of four 16-bit uniforms: mean 0, variance 1/3, near enough to normal; no transcendental, so it is the same
// everywhere.
float draw(uint64_t seed, uint64_t index) {
  const uint64_t bits = mix(seed + index * 0x9e3779b97f4a7c15ull);
  const int64_t sum = static_cast<int64_t>(bits & 0xffff) + static_cast<int64_t>(bits >> 16 & 0xffff) +
                      static_cast<int64_t>(bits >> 32 & 0xffff) + static_cast<int64_t>(bits >> 48);
  return static_cast<float>(sum - 131070) * (1.0f / 65536.0f) * 1.7320508f;
}

class RandomWeights : public WeightMap {
 public:
  RandomWeights(const ModelConfig &config, uint64_t seed, Dtype dtype, Task &task, int64_t distinct_layers) {
    const auto expected = list_expected_tensors(config);
    int64_t total = 0;
    for (const auto &tensor : expected) {
      if (name_model(tensor.name, distinct_layers).empty())
        total += aligned(tensor.rows * tensor.columns * dtype_bytes(dtype));
    }
    storage_.reset(new uint8_t[static_cast<size_t>(total) + 64]);
    uint8_t *at = storage_.get() + (64 - reinterpret_cast<uintptr_t>(storage_.get()) % 64) % 64;
    uint64_t name_hash = mix(seed ^ 0x64756f);
    for (const auto &tensor : expected) {
      name_hash = mix(name_hash + 1);
      const std::string same = name_model(tensor.name, distinct_layers);
      if (!same.empty()) {
        tensors_.emplace(tensor.name, tensors_.at(same));
        continue;
      }
      const bool is_norm = ends_with(tensor.name, "norm.weight"), is_bias = ends_with(tensor.name, ".bias");
      // Embeddings of unit scale, matrices of 1/sqrt(in): activations stay near 1 at any depth that benches use.
      const bool is_embedding = tensor.name == "model.embed_tokens.weight" && !config.tied_embeddings;
      const float scale = is_embedding ? 1.0f : 1.0f / std::sqrt(static_cast<float>(tensor.columns));
      fill(at, tensor.rows * tensor.columns, dtype, name_hash, is_norm ? -1.0f : is_bias ? 0.0f : scale, task);
      tensors_.emplace(tensor.name, Tensor{at, dtype, tensor.rows, tensor.columns});
      at += aligned(tensor.rows * tensor.columns * dtype_bytes(dtype));
    }
    if (config.tied_embeddings) tensors_.emplace("lm_head.weight", tensors_.at("model.embed_tokens.weight"));
  }

 private:
  // The tensor of a lower layer whose memory the named one has; "" where it has its own.
  static std::string name_model(const std::string &name, int64_t distinct_layers) {
    const std::string before = "model.layers.";
    if (distinct_layers == 0 || name.compare(0, before.size(), before) != 0) return "";
    const size_t end = name.find('.', before.size());
    const int64_t layer = std::stoll(name.substr(before.size(), end - before.size()));
    return layer < distinct_layers ? "" : before + std::to_string(layer % distinct_layers) + name.substr(end);
  }
  static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

  // scale −1 means "all ones".
  static void fill(uint8_t *at, int64_t count, Dtype dtype, uint64_t seed, float scale, Task &task) {
    const auto fill_range = [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const float value = scale < 0 ? 1.0f : draw(seed, static_cast<uint64_t>(i)) * scale;
        if (dtype == Dtype::f32) {
          reinterpret_cast<float *>(at)[i] = value;
        } else {
          reinterpret_cast<uint16_t *>(at)[i] = float_to_bf16(value);
        }
      }
    };
    constexpr int64_t BLOCK = int64_t{1} << 20;
    std::atomic<int64_t> next{0};
    const auto work = [&] {
      for (int64_t begin; !task.is_aborted() && (begin = next.fetch_add(BLOCK)) < count;)
        fill_range(begin, std::min(begin + BLOCK, count));
    };
    const unsigned num_threads = count <= BLOCK ? 1 : std::max(1u, std::thread::hardware_concurrency());
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < num_threads; i++) threads.emplace_back(work);
    work();
    for (auto &thread : threads) thread.join();
    task.check_abort();
  }

  std::unique_ptr<uint8_t[]> storage_;
};

}  // namespace

std::shared_ptr<const WeightMap> make_random_weights(const ModelConfig &config, uint64_t seed, Dtype dtype, Task &task,
                                                     int64_t distinct_layers) {
  return std::make_shared<RandomWeights>(config, seed, dtype, task, distinct_layers);
}

}  // namespace duo
