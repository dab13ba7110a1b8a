// Hidden states, logits and next-token scores of a sample under gates.
#include <algorithm>
#include <cmath>

#include "cpu/transformer.h"

namespace duo {
namespace {

// Rows of logits held at once: 64 rows of a 128K vocabulary are 33 MB.
constexpr int64_t LOGIT_ROWS = 64;

}  // namespace

void CpuModel::hidden(const Passage &passage, const float *gates, const HeadWindows &windows, Task &task, float *out) {
  task.set_total(config_.layers);
  forward_sample(*this, passage, gates, windows, task, nullptr, nullptr, out, nullptr);
}

void CpuModel::logits(const Passage &passage, const float *gates, const HeadWindows &windows, Task &task, float *out) {
  ScratchBuffer states(passage.num_positions * config_.hidden);
  hidden(passage, gates, windows, task, states.data());
  multiply_linear(context(&task), lm_head_, states.data(), config_.hidden, passage.num_positions, out, config_.vocab,
                  false);
}

void CpuModel::evaluate(const Passage &passage, const int32_t *targets, const float *gates, const HeadWindows &windows,
                        Task &task, float *log_probs, int32_t *predictions) {
  ScratchBuffer states(passage.num_positions * config_.hidden),
      logits(std::min(LOGIT_ROWS, passage.num_positions) * config_.vocab);
  hidden(passage, gates, windows, task, states.data());
  const CpuContext running = context(&task);
  for (int64_t first = 0; first < passage.num_positions; first += LOGIT_ROWS) {
    const int64_t count = std::min(LOGIT_ROWS, passage.num_positions - first);
    multiply_linear(running, lm_head_, states.data() + first * config_.hidden, config_.hidden, count, logits.data(),
                    config_.vocab, false);
    running.run(count, [&](int64_t row, int64_t) {
      const float *values = logits.data() + row * config_.vocab;
      const float *best = std::max_element(values, values + config_.vocab);  // the first of equals
      double sum = 0;
      for (int64_t i = 0; i < config_.vocab; i++)
        sum += std::exp(static_cast<double>(values[i]) - static_cast<double>(*best));
      const double target = static_cast<double>(values[targets[first + row]]);
      log_probs[first + row] = static_cast<float>(target - static_cast<double>(*best) - std::log(sum));
      predictions[first + row] = static_cast<int32_t>(best - values);
    });
  }
}

}  // namespace duo
