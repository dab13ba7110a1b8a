// Hidden states, logits, next-token scores and probes of a sample under gates.
#include <algorithm>

#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {
namespace {

constexpr int64_t LOGIT_ROWS = 256;  // rows of logits held at once: 131 MB of a 128K vocabulary

// Logits [count, V] of hidden states [count, C], both on the device.
void compute_logits(const CudaModel &model, SamplePass &pass, const float *hidden, int64_t count, bf16 *narrowed, float *logits) {
  const ModelConfig &config = model.config();
  check(launch_narrow(hidden, count * config.hidden, narrowed, pass.stream().get()), "rounding hidden states");
  multiply_linear(model, model.lm_head(), 0, config.vocab, narrowed, count, logits, config.vocab, Store::f32, pass.scratch(), pass.stream());
}

}  // namespace

void CudaModel::hidden(const Passage &passage, const float *gates, Window window, Task &task, float *out) {
  select_device();
  task.set_total(config_.layers);
  DeviceBuffer<float> states(passage.num_positions * config_.hidden);
  SamplePass pass(*this, passage, window, PassRole::forward, 0, task);
  pass.run(gates, states.data());
  copy_to_host(out, states.data(), states.count(), pass.stream());
}

void CudaModel::logits(const Passage &passage, const float *gates, Window window, Task &task, float *out) {
  select_device();
  task.set_total(config_.layers);
  const int64_t rows = passage.num_positions, width = config_.hidden;
  DeviceBuffer<float> states(rows * width), logits(std::min(LOGIT_ROWS, rows) * config_.vocab);
  DeviceBuffer<bf16> narrowed(std::min(LOGIT_ROWS, rows) * width);
  SamplePass pass(*this, passage, window, PassRole::forward, 0, task);
  pass.run(gates, states.data());
  for (int64_t first = 0; first < rows; first += LOGIT_ROWS) {
    const int64_t count = std::min(LOGIT_ROWS, rows - first);
    compute_logits(*this, pass, states.data() + first * width, count, narrowed.data(), logits.data());
    copy_to_host(out + first * config_.vocab, logits.data(), count * config_.vocab, pass.stream());
  }
}

void CudaModel::evaluate(const Passage &passage, const int32_t *targets, const float *gates, Window window, Task &task, float *log_probs,
                         int32_t *predictions) {
  select_device();
  task.set_total(config_.layers);
  const int64_t rows = passage.num_positions, width = config_.hidden;
  DeviceBuffer<float> states(rows * width), logits(std::min(LOGIT_ROWS, rows) * config_.vocab), scores(rows);
  DeviceBuffer<bf16> narrowed(std::min(LOGIT_ROWS, rows) * width);
  DeviceBuffer<int32_t> wanted(rows), best(rows);
  SamplePass pass(*this, passage, window, PassRole::forward, 0, task);
  pass.run(gates, states.data());
  copy_to_device(wanted.data(), targets, rows, pass.stream());
  for (int64_t first = 0; first < rows; first += LOGIT_ROWS) {
    const int64_t count = std::min(LOGIT_ROWS, rows - first);
    compute_logits(*this, pass, states.data() + first * width, count, narrowed.data(), logits.data());
    check(launch_score_rows(logits.data(), wanted.data() + first, count, config_.vocab, scores.data() + first, best.data() + first, pass.stream().get()),
          "scoring tokens");
  }
  copy_to_host(log_probs, scores.data(), rows, pass.stream());
  copy_to_host(predictions, best.data(), rows, pass.stream());
}

// Layers below a head's own are shared by all heads of the call, a layer's two attention branches by its heads.
void CudaModel::probe(const Passage &passage, const float *base_gates, const float *probe_gates, int64_t head_begin, int64_t head_end,
                      Window window, Task &task, float *differences) {
  select_device();
  const int64_t width = config_.hidden, rows = passage.num_positions, kv_heads = config_.kv_heads, tokens = count_needed_tokens(passage);
  const int64_t first_layer = head_begin / kv_heads, last_layer = (head_end - 1) / kv_heads;
  task.set_total(head_end - head_begin);
  DeviceBuffer<float> input(tokens * width), current(tokens * width), base(rows * width), out(rows * width), last(rows * width);
  // One pass stays at the probed layer with both branches, the other runs on from there, after it on the same data.
  SamplePass shared(*this, passage, window, PassRole::probe, 0, task), onward(*this, passage, window, PassRole::forward, 0, task);
  shared.set_gates(base_gates);
  onward.set_gates(base_gates);

  // From a layer's output [its rows, C] in `current` (or `last`, for the last layer) to the final hidden states.
  const auto run_on = [&](int64_t layer, float *to) {
    shared.stream().wait();
    for (layer++; layer < config_.layers; layer++) {
      const DeviceRows looked_at = onward.rows_of(layer);
      onward.attend_layer(layer, current.data(), looked_at);
      float *x = current.data();
      if (!looked_at.is_all) {
        onward.gather(current.data(), looked_at, last.data());
        x = last.data();
      }
      onward.finish_layer(layer, x, looked_at.count);
      onward.pace();
    }
    check(launch_rms_norm_f32(last.data(), final_norm_.data(), rows, width, config_.rms_norm_eps, to, onward.stream().get()), "the final norm");
    onward.stream().wait();
  };
  // The probed layer's output, from the mix inside `shared`.
  const auto finish_probed = [&](int64_t layer) {
    const DeviceRows looked_at = shared.rows_of(layer);
    float *x = looked_at.is_all ? current.data() : last.data();
    shared.gather(input.data(), looked_at, x);
    shared.finish_layer(layer, x, looked_at.count);
  };

  shared.embed(input.data());
  for (int64_t layer = 0; layer <= last_layer; layer++) {
    const float *layer_gates = base_gates + layer * kv_heads;
    if (layer < first_layer) {
      shared.attend_layer(layer, input.data(), shared.all());
      shared.finish_layer(layer, input.data(), tokens);
      shared.pace();
      continue;
    }
    const int64_t looked_at = shared.rows_of(layer).count;
    shared.attend_branches(layer, input.data(), shared.rows_of(layer));
    if (layer == first_layer) {
      finish_probed(layer);
      run_on(layer, base.data());
    }
    std::vector<float> gates(layer_gates, layer_gates + kv_heads);
    for (int64_t head = std::max(head_begin, layer * kv_heads); head < std::min(head_end, (layer + 1) * kv_heads); head++) {
      float *difference = differences + (head - head_begin) * rows * width;
      if (probe_gates[head] == base_gates[head]) {
        std::fill_n(difference, rows * width, 0.0f);
        task.add_done();
        continue;
      }
      const auto at = static_cast<size_t>(head - layer * kv_heads);
      gates[at] = probe_gates[head];
      shared.mix_again(layer, gates.data(), looked_at);
      finish_probed(layer);
      run_on(layer, out.data());
      check(launch_subtract(base.data(), out.data(), rows * width, out.data(), onward.stream().get()), "a difference");
      copy_to_host(difference, out.data(), rows * width, onward.stream());
      gates[at] = base_gates[head];
      task.add_done();
    }
    if (layer < last_layer) {
      shared.mix_again(layer, layer_gates, looked_at);
      shared.finish_layer(layer, input.data(), tokens);
    }
  }
}

}  // namespace duo::cuda
