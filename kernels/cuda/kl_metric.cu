// The KL metric of a CUDA model (core/kl_metric.h), on its device: distributions of a few rows at a time, then products
// with as many changes and positions as are held at once. What is held does not change a bit of the results. Products
// with the head take fp32 values as two f16 parts, so that distributions and mean rows are those of fp32 products with
// the model's f16 weights (docs/semantics.md, measurements).
#include "core/kl_metric.h"

#include <algorithm>
#include <cmath>

#include "cuda/cuda_model.h"
#include "cuda/kl_features.h"
#include "cuda/reductions.h"

namespace duo::cuda {
namespace {

constexpr int64_t LOGIT_ROWS = 64;              // held at once: 33 MB of a 128K vocabulary, and as much of an anchor's
constexpr int64_t MAX_CHANGES = 256;            // multiplied at once
constexpr float PROBABILITY_FACTOR = 32768.0f;  // puts what is left of 1 well above f16's subnormals

class CudaKlMetric final : public KlMetric {
 public:
  // Memory: two of [64, V] floats, four of [64, V] or less 16-bit floats, [P, 2·C + 2·K] floats.
  CudaKlMetric(const CudaModel &model, const float *reference, const float *anchor, int64_t num_positions,
               int64_t most_floats, Task &task);
  void project(const float *changes, int64_t count, float *features) const override {
    multiply(launch_kl_project, changes, width_, count, num_features_, features);
  }
  void pull_back(const float *vectors, int64_t count, float *out) const override {
    multiply(launch_kl_pull_back, vectors, num_features_, count, width_, out);
  }

 private:
  void multiply(decltype(launch_kl_project) *launch, const float *left, int64_t depth, int64_t count, int64_t columns,
                float *out) const;

  Task &task_;
  int64_t num_positions_, width_, num_features_, most_floats_;
  DeviceBuffer<int32_t> tokens_;
  DeviceBuffer<float> shares_, mean_, rest_;
  DeviceBuffer<double> scale_;
  KlMaps maps_{};
  Stream stream_;
};

// A power of two that puts the largest of [count] values between 2^14 and 2^15.
float choose_factor(const float *values, int64_t count) {
  float largest = 0.0f;
  for (int64_t i = 0; i < count; i++) largest = std::max(largest, std::fabs(values[i]));
  int exponent = 15;
  if (largest > 0.0f) std::frexp(largest, &exponent);
  return std::ldexp(1.0f, std::clamp(15 - exponent, -100, 100));
}

CudaKlMetric::CudaKlMetric(const CudaModel &model, const float *reference, const float *anchor, int64_t num_positions,
                           int64_t most_floats, Task &task)
    : task_(task),
      num_positions_(num_positions),
      width_(model.config().hidden),
      num_features_(count_kl_features(model.config().vocab)),
      most_floats_(most_floats),
      tokens_(num_positions * (num_features_ - 1)),
      shares_(num_positions * num_features_),
      mean_(num_positions * width_),
      rest_(num_positions * width_),
      scale_(num_positions) {
  const F16Matrix &head = model.lm_head().f16;
  maps_ = {head.values.data(), head.unit,     width_,       num_features_, tokens_.data(),
           shares_.data(),     scale_.data(), mean_.data(), rest_.data()};
  const int64_t vocab = model.config().vocab, most = std::min(LOGIT_ROWS, num_positions),
                num_tokens = num_features_ - 1;
  const LogitColumns columns(vocab);
  DeviceBuffer<float> states(most * width_), from(most * vocab), to(anchor != nullptr ? most * vocab : 0);
  DeviceBuffer<uint16_t> high(most * std::max(width_, columns.stride)), low(high.count());
  const auto logits = [&](const float *hidden, int64_t count, float *out) {
    const float factor = choose_factor(hidden, count * width_);
    copy_to_device(states.data(), hidden, count * width_, stream_);
    check(launch_split_f16(states.data(), count, width_, factor, high.data(), low.data(), stream_.get()),
          "splitting hidden states");
    Product product{
        high.data(), head.values.data(), out, count, vocab, width_, width_, width_, vocab, false, Store::f32,
        Half::f16,   head.unit / factor};
    model.algebra().multiply(product, stream_);
    product.left = low.data(), product.store = Store::add_f32, product.factor /= SPLIT_LOW;
    model.algebra().multiply(product, stream_);
  };
  // out [count, C] = Σ over tokens of what high and low hold; if the vocabulary is odd, the last tokens are in a
  // product of their own.
  const auto sum_rows = [&](int64_t count, float *out) {
    const float unit = head.unit / PROBABILITY_FACTOR;
    const auto add = [&](int64_t column, int64_t first_token, int64_t num) {
      for (const bool is_low : {false, true}) {
        model.algebra().multiply(
            {(is_low ? low : high).data() + column, head.values.data() + first_token * width_, out, count, width_, num,
             columns.stride, width_, width_, true, column == 0 && !is_low ? Store::f32 : Store::add_f32, Half::f16,
             is_low ? unit / SPLIT_LOW : unit},
            stream_);
      }
    };
    add(0, 0, columns.even);
    if (columns.even < vocab) add(columns.even, vocab - 8, 8);
  };
  if (num_tokens == vocab) clear(rest_, stream_);  // no token is left
  for (int64_t first = 0; first < num_positions; first += LOGIT_ROWS) {
    task.check_abort();
    const int64_t count = std::min(LOGIT_ROWS, num_positions - first);
    logits(reference + first * width_, count, from.data());
    if (anchor != nullptr) logits(anchor + first * width_, count, to.data());
    check(launch_kl_distributions(from.data(), to.data(), count, vocab, from.data(), scale_.data() + first,
                                  stream_.get()),
          "distributions");
    check(launch_kl_tokens(from.data(), count, vocab, num_tokens, tokens_.data() + first * num_tokens,
                           shares_.data() + first * num_features_, stream_.get()),
          "choosing tokens");
    if (num_tokens < vocab) {
      check(launch_split_f16(from.data(), count, vocab, PROBABILITY_FACTOR, high.data(), low.data(), stream_.get()),
            "splitting probabilities");
      sum_rows(count, rest_.data() + first * width_);
    }
    check(launch_kl_means(maps_.from(first), count, stream_.get()), "mean rows");
  }
  stream_.wait();
}

// left [count, P, depth], out [count, P, columns], both on the host.
void CudaKlMetric::multiply(decltype(launch_kl_project) *launch, const float *left, int64_t depth, int64_t count,
                            int64_t columns, float *out) const {
  const int64_t most_changes = std::min(MAX_CHANGES, count),
                most_positions =
                    std::clamp<int64_t>(most_floats_ / (most_changes * std::max(depth, columns)), 1, num_positions_);
  DeviceBuffer<float> given(most_changes * most_positions * depth), found(most_changes * most_positions * columns);
  for (int64_t change = 0; change < count; change += most_changes) {
    const int64_t changes = std::min(most_changes, count - change);
    for (int64_t first = 0; first < num_positions_; first += most_positions) {
      task_.check_abort();
      const int64_t positions = std::min(most_positions, num_positions_ - first);
      for (int64_t i = 0; i < changes; i++) {
        copy_to_device(given.data() + i * positions * depth, left + ((change + i) * num_positions_ + first) * depth,
                       positions * depth, stream_);
      }
      check(launch(maps_.from(first), given.data(), positions, changes, found.data(), stream_.get()),
            "products with a KL metric");
      for (int64_t i = 0; i < changes; i++) {
        copy_to_host(out + ((change + i) * num_positions_ + first) * columns, found.data() + i * positions * columns,
                     positions * columns, stream_);
      }
    }
  }
}

}  // namespace

void CudaModel::use_kl_metric(const float *reference, const float *anchor, int64_t num_positions, Task &task,
                              const std::function<void(const KlMetric &)> &body) {
  select_device();
  {
    const LayerTurn turn(layers_, task);
    require_f16(task);
  }
  body(CudaKlMetric(*this, reference, anchor, num_positions, most_kl_floats_, task));
}

}  // namespace duo::cuda
