// Hidden states and logits of a sample under gates, in f16 as in measurements; next-token scores, in bf16 as the
// deployed model computes.
#include <algorithm>
#include <memory>

#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {
namespace {

constexpr int64_t LOGIT_ROWS = 256;  // rows of logits held at once: 131 MB of a 128K vocabulary

// Logits [count, V] of hidden states [count, C], both on the device.
void compute_logits(const CudaModel &model, SamplePass &pass, const float *hidden, int64_t count, bf16 *narrowed,
                    float *logits) {
  const ModelConfig &config = model.config();
  check(launch_narrow(hidden, count * config.hidden, narrowed, pass.stream().get(), pass.half()),
        "rounding hidden states");
  multiply_linear(model, model.lm_head(), 0, config.vocab, narrowed, count, logits, config.vocab, Store::f32,
                  pass.scratch(), pass.stream(), pass.half());
}

// A pass in f16 that has run: hidden states [P, C] at `states`.
std::unique_ptr<SamplePass> run_f16(const CudaModel &model, const Passage &passage, const float *gates,
                                    const HeadWindows &windows, Task &task, float *states) {
  MlpScales scales(model.config().layers);
  for (;;) {
    auto pass = std::make_unique<SamplePass>(model, passage, windows, PassRole::forward, 0, task,
                                             PassArithmetic{Half::f16, scales.data()});
    pass->run(gates, states);
    if (!scales.fit(pass->read_peaks())) continue;
    require_finite_f16(states, passage.num_positions * model.config().hidden, pass->stream());
    return pass;
  }
}

}  // namespace

void CudaModel::hidden(const Passage &passage, const float *gates, const HeadWindows &windows, Task &task, float *out) {
  select_device();
  const LayerTurn turn(layers_, task);
  require_f16(task);
  task.set_total(config_.layers);
  DeviceBuffer<float> states(passage.num_positions * config_.hidden);
  const auto pass = run_f16(*this, passage, gates, windows, task, states.data());
  copy_to_host(out, states.data(), states.count(), pass->stream());
}

void CudaModel::logits(const Passage &passage, const float *gates, const HeadWindows &windows, Task &task, float *out) {
  select_device();
  const LayerTurn turn(layers_, task);
  require_f16(task);
  task.set_total(config_.layers);
  const int64_t rows = passage.num_positions, width = config_.hidden;
  DeviceBuffer<float> states(rows * width), logits(std::min(LOGIT_ROWS, rows) * config_.vocab);
  DeviceBuffer<bf16> narrowed(std::min(LOGIT_ROWS, rows) * width);
  const auto pass = run_f16(*this, passage, gates, windows, task, states.data());
  for (int64_t first = 0; first < rows; first += LOGIT_ROWS) {
    const int64_t count = std::min(LOGIT_ROWS, rows - first);
    compute_logits(*this, *pass, states.data() + first * width, count, narrowed.data(), logits.data());
    copy_to_host(out + first * config_.vocab, logits.data(), count * config_.vocab, pass->stream());
  }
}

void CudaModel::evaluate(const Passage &passage, const int32_t *targets, const float *gates, const HeadWindows &windows,
                         Task &task, float *log_probs, int32_t *predictions) {
  select_device();
  const LayerTurn turn(layers_, task);
  task.set_total(config_.layers);
  const int64_t rows = passage.num_positions, width = config_.hidden;
  DeviceBuffer<float> states(rows * width), logits(std::min(LOGIT_ROWS, rows) * config_.vocab), scores(rows);
  DeviceBuffer<bf16> narrowed(std::min(LOGIT_ROWS, rows) * width);
  DeviceBuffer<int32_t> wanted(rows), best(rows);
  SamplePass pass(*this, passage, windows, PassRole::forward, 0, task);
  pass.run(gates, states.data());
  copy_to_device(wanted.data(), targets, rows, pass.stream());
  for (int64_t first = 0; first < rows; first += LOGIT_ROWS) {
    const int64_t count = std::min(LOGIT_ROWS, rows - first);
    compute_logits(*this, pass, states.data() + first * width, count, narrowed.data(), logits.data());
    check(launch_score_rows(logits.data(), wanted.data() + first, count, config_.vocab, scores.data() + first,
                            best.data() + first, pass.stream().get()),
          "scoring tokens");
  }
  copy_to_host(log_probs, scores.data(), rows, pass.stream());
  copy_to_host(predictions, best.data(), rows, pass.stream());
}

}  // namespace duo::cuda
