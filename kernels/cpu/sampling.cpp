// The definition in sampling.h, as it is written there.
#include "cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace duo {
namespace {

// splitmix64's output function.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

double draw_uniform(uint64_t seed, int64_t length) {
  return static_cast<double>(mix(mix(seed) ^ static_cast<uint64_t>(length)) >> 11) * 0x1p-53;
}

int32_t sample_token(const float *logits, int64_t vocab, const Sampling &sampling, int64_t length) {
  const float *best = std::max_element(logits, logits + vocab);
  if (sampling.temperature == 0.0f) return static_cast<int32_t>(best - logits);
  std::vector<int32_t> ids(static_cast<size_t>(vocab));
  std::iota(ids.begin(), ids.end(), 0);
  const bool is_cut = (sampling.top_k > 0 && sampling.top_k < vocab) || sampling.top_p < 1.0f;
  if (is_cut) {
    const auto before = [logits](int32_t a, int32_t b) {
      return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
    };
    if (sampling.top_k > 0 && sampling.top_k < vocab) {
      std::nth_element(ids.begin(), ids.begin() + (sampling.top_k - 1), ids.end(), before);
      ids.resize(static_cast<size_t>(sampling.top_k));
    }
    std::sort(ids.begin(), ids.end(), before);
  }
  std::vector<double> weights;
  weights.reserve(ids.size());
  double total = 0.0;
  for (const int32_t id : ids) {
    weights.push_back(std::exp((static_cast<double>(logits[id]) - static_cast<double>(*best)) /
                               static_cast<double>(sampling.temperature)));
    total += weights.back();
  }
  if (sampling.top_p < 1.0f) {
    double kept = 0.0;
    size_t count = 0;
    while (count < weights.size() && kept < static_cast<double>(sampling.top_p) * total) kept += weights[count++];
    weights.resize(std::max<size_t>(count, 1));
    total = kept;
  }
  const double target = draw_uniform(sampling.seed, length) * total;
  double running = 0.0;
  for (size_t i = 0; i < weights.size(); i++) {
    running += weights[i];
    if (running > target) return ids[i];
  }
  return ids[weights.size() - 1];
}

}  // namespace duo
