// Features of a position are rows of a map [K, C]: √(scale·p_v/2) (w_v − mean), w the rows of the output head, mean = Σ
// p_v w_v. The row of the rest has the rest's probability and mean row, which the whole vocabulary's mean gives without
// a look at its tokens.
#include "cpu/kl_metric.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cpu/layer_ops.h"

namespace duo {
namespace {

// Rows of probabilities held at once: 64 rows of a 128K vocabulary are 33 MB.
constexpr int64_t PROBABILITY_ROWS = 64;
// Of a map that one thread fills together.
constexpr int64_t COLUMNS_AT_ONCE = 64;

// out [vocab] += weight · softmax(from + share·(to − from)). Returns the natural logarithm of Σ exp(…).
double add_softmax(const float *from, const float *to, double share, double weight, int64_t vocab, double *out) {
  const auto logit = [&](int64_t i) {
    return static_cast<double>(from[i]) + share * (static_cast<double>(to[i]) - static_cast<double>(from[i]));
  };
  double best = logit(0), sum = 0;
  for (int64_t i = 1; i < vocab; i++) best = std::max(best, logit(i));
  for (int64_t i = 0; i < vocab; i++) sum += std::exp(logit(i) - best);
  for (int64_t i = 0; i < vocab; i++) out[i] += weight / sum * std::exp(logit(i) - best);
  return best + std::log(sum);
}

// KL(softmax(from) ‖ softmax(to)) over its quadratic form in `mean`: what the form is multiplied by to be exact for
// that change.
double find_scale(const float *from, const float *to, const std::vector<double> &mean, int64_t vocab) {
  std::vector<double> p(mean.size()), unused(mean.size());
  const double log_from = add_softmax(from, from, 0, 1, vocab, p.data()),
               log_to = add_softmax(to, to, 0, 1, vocab, unused.data());
  double divergence = 0, first = 0, second = 0;
  for (int64_t i = 0; i < vocab; i++) {
    const auto at = static_cast<size_t>(i);
    const double change = static_cast<double>(to[i]) - static_cast<double>(from[i]);
    divergence += p[at] * (log_to - log_from - change);
    first += mean[at] * change;
  }
  for (int64_t i = 0; i < vocab; i++) {
    const double change = static_cast<double>(to[i]) - static_cast<double>(from[i]) - first;
    second += mean[static_cast<size_t>(i)] * change * change;
  }
  return divergence > KL_MIN_DIVERGENCE && second > 0 ? 2 * divergence / second : 1.0;
}

}  // namespace

CpuKlMetric::CpuKlMetric(const CpuContext &context, const Linear &lm_head, const float *reference, const float *anchor,
                         int64_t num_positions)
    : context_(context),
      lm_head_(lm_head),
      num_positions_(num_positions),
      num_tokens_(count_kl_features(lm_head.out()) - 1),
      tokens_(static_cast<size_t>(num_positions * num_tokens_)),
      probabilities_(tokens_.size()),
      rest_(static_cast<size_t>(num_positions)),
      scale_(static_cast<size_t>(num_positions), 1.0),
      mean_(num_positions * lm_head.in()) {
  const int64_t width = lm_head.in(), vocab = lm_head.out();
  const int64_t most = std::min(PROBABILITY_ROWS, num_positions) * vocab;
  ScratchBuffer values(most), others(anchor != nullptr ? most : 0);
  for (int64_t first = 0; first < num_positions; first += PROBABILITY_ROWS) {
    const int64_t count = std::min(PROBABILITY_ROWS, num_positions - first);
    multiply_linear(context_, lm_head_, reference + first * width, width, count, values.data(), vocab, false);
    if (anchor != nullptr)
      multiply_linear(context_, lm_head_, anchor + first * width, width, count, others.data(), vocab, false);
    context_.run(count, [&](int64_t row, int64_t) {
      float *from = values.data() + row * vocab;
      std::vector<double> mean(static_cast<size_t>(vocab));
      if (anchor == nullptr) {
        add_softmax(from, from, 0, 1, vocab, mean.data());
      } else {
        const float *to = others.data() + row * vocab;
        for (const auto &step : KL_STEPS) add_softmax(from, to, step.share, step.weight, vocab, mean.data());
        scale_[static_cast<size_t>(first + row)] = find_scale(from, to, mean, vocab);
      }
      std::copy(mean.begin(), mean.end(), from);
      choose_tokens(first + row, from);
    });
    multiply_linear_transposed(context_, lm_head_, values.data(), vocab, count, mean_.data() + first * width, width,
                               false);
  }
}

// The likeliest tokens of a row [V], of equal ones the lower ids.
void CpuKlMetric::choose_tokens(int64_t position, const float *probabilities) {
  std::vector<int32_t> order(static_cast<size_t>(lm_head_.out()));
  std::iota(order.begin(), order.end(), 0);
  const auto is_before = [&](int32_t a, int32_t b) {
    return probabilities[a] > probabilities[b] || (probabilities[a] == probabilities[b] && a < b);
  };
  const auto end = order.begin() + num_tokens_;
  std::partial_sort(order.begin(), end, order.end(), is_before);
  double sum = 0;
  for (int64_t i = 0; i < num_tokens_; i++) {
    const int32_t token = order[static_cast<size_t>(i)];
    const auto at = static_cast<size_t>(position * num_tokens_ + i);
    tokens_[at] = token;
    probabilities_[at] = probabilities[token];
    sum += static_cast<double>(probabilities[token]);
  }
  rest_[static_cast<size_t>(position)] = std::max(0.0, 1 - sum);
}

// The map of a position, in `rows` [K, C].
Linear CpuKlMetric::map_of(int64_t position, ScratchBuffer &rows) const {
  const int64_t width = lm_head_.in();
  const float *probabilities = probabilities_.data() + position * num_tokens_, *mean = mean_.data() + position * width;
  embed_tokens(context_, lm_head_.weight, tokens_.data() + position * num_tokens_, num_tokens_, rows.data());
  const double rest = rest_[static_cast<size_t>(position)], half = scale_[static_cast<size_t>(position)] / 2;
  float *last = rows.data() + num_tokens_ * width;
  context_.run((width + COLUMNS_AT_ONCE - 1) / COLUMNS_AT_ONCE, [&](int64_t item, int64_t) {
    const int64_t begin = item * COLUMNS_AT_ONCE, end = std::min(width, begin + COLUMNS_AT_ONCE);
    double others[COLUMNS_AT_ONCE];  // Σ p_v w_v over the rest
    for (int64_t i = begin; i < end; i++) others[i - begin] = static_cast<double>(mean[i]);
    for (int64_t token = 0; token < num_tokens_; token++) {
      float *row = rows.data() + token * width;
      const double probability = static_cast<double>(probabilities[token]), scale = std::sqrt(probability * half);
      for (int64_t i = begin; i < end; i++) {
        others[i - begin] -= probability * static_cast<double>(row[i]);
        row[i] = static_cast<float>(scale * (static_cast<double>(row[i]) - static_cast<double>(mean[i])));
      }
    }
    for (int64_t i = begin; i < end; i++) {
      last[i] =
          rest < KL_MIN_REST
              ? 0.0f
              : static_cast<float>(std::sqrt(rest * half) * (others[i - begin] / rest - static_cast<double>(mean[i])));
    }
  });
  return {{reinterpret_cast<const uint8_t *>(rows.data()), Dtype::f32, num_tokens_ + 1, width}, {}};
}

void CpuKlMetric::project(const float *changes, int64_t count, float *features) const {
  multiply_maps(changes, count, false, features);
}

void CpuKlMetric::pull_back(const float *vectors, int64_t count, float *out) const {
  multiply_maps(vectors, count, true, out);
}

// Every position's map, or its transpose, times the `count` vectors of the position: rows [count, P] of C and K, or of K
// and C. A map is made once for all vectors.
void CpuKlMetric::multiply_maps(const float *from, int64_t count, bool is_transposed, float *to) const {
  const int64_t width = lm_head_.in(), num_features = num_tokens_ + 1;
  const int64_t in = is_transposed ? num_features : width, out = is_transposed ? width : num_features;
  const auto multiply = is_transposed ? multiply_linear_transposed : multiply_linear;
  ScratchBuffer rows(num_features * width);
  for (int64_t position = 0; position < num_positions_; position++) {
    const Linear map = map_of(position, rows);
    multiply(context_, map, from + position * in, num_positions_ * in, count, to + position * out, num_positions_ * out,
             false);
  }
}

}  // namespace duo
