// One-gate changes of the final hidden states, for the quadratic method. Layers below a head's own are shared by all
// heads of the call, and a layer's two attention branches by its heads; a head whose gate stays costs nothing.
#include <algorithm>

#include "cpu/transformer.h"

namespace duo {

void CpuModel::probe(const Passage &passage, const float *base_gates, const float *probe_gates, int64_t head_begin,
                     int64_t head_end, const HeadWindows &windows, Task &task, float *differences) {
  const int64_t num_tokens = count_needed_tokens(passage), width = config_.hidden, num_rows = passage.num_positions,
                kv_heads = config_.kv_heads;
  const int64_t first_layer = head_begin / kv_heads, last_layer = (head_end - 1) / kv_heads;
  task.set_total(head_end - head_begin);
  // Two passes: one stays at the probed layer with both branches, the other runs on from there.
  SamplePass shared(*this, num_tokens, passage.num_tokens, windows, task),
      onward(*this, num_tokens, passage.num_tokens, windows, task);
  const RowSet all = RowSet::all(num_tokens);
  const RowSet wanted{std::vector<int32_t>(passage.positions, passage.positions + num_rows), false};
  const auto rows_of = [&](int64_t layer) -> const RowSet & { return layer == config_.layers - 1 ? wanted : all; };
  ScratchBuffer input(num_tokens * width), current(num_tokens * width), next(num_tokens * width),
      base(num_rows * width);

  // From the output of `layer` in `current` to the final hidden states.
  const auto run_on = [&](int64_t layer, float *out) {
    for (layer++; layer < config_.layers; layer++) {
      onward.forward_layer(layer, current.data(), rows_of(layer), {base_gates + layer * kv_heads, nullptr, false},
                           next.data());
      std::swap(current, next);
    }
    onward.final_norm(current.data(), num_rows, out);
  };

  shared.embed(passage.tokens, input.data());
  for (int64_t layer = 0; layer <= last_layer; layer++) {
    const float *layer_gates = base_gates + layer * kv_heads;
    if (layer < first_layer) {
      shared.forward_layer(layer, input.data(), all, {layer_gates, nullptr, false}, current.data());
      std::swap(input, current);
      continue;
    }
    shared.attend_layer(layer, input.data(), rows_of(layer), {layer_gates, nullptr, true}, false);
    if (layer == first_layer) {
      onward.finish_layer(layer, input.data(), rows_of(layer),
                          shared.mix_heads(rows_of(layer), {layer_gates, nullptr, true}), current.data());
      run_on(layer, base.data());
    }
    std::vector<float> gates(layer_gates, layer_gates + kv_heads);
    for (int64_t head = std::max(head_begin, layer * kv_heads); head < std::min(head_end, (layer + 1) * kv_heads);
         head++) {
      float *out = differences + (head - head_begin) * num_rows * width;
      if (probe_gates[head] == base_gates[head]) {
        std::fill_n(out, num_rows * width, 0.0f);
        task.add_done();
        continue;
      }
      const auto at = static_cast<size_t>(head - layer * kv_heads);
      gates[at] = probe_gates[head];
      onward.finish_layer(layer, input.data(), rows_of(layer),
                          shared.mix_heads(rows_of(layer), {gates.data(), nullptr, true}), current.data());
      run_on(layer, out);
      for (int64_t i = 0; i < num_rows * width; i++) out[i] = base.data()[i] - out[i];
      gates[at] = base_gates[head];
      task.add_done();
    }
    if (layer < last_layer) {
      shared.finish_layer(layer, input.data(), all, shared.mix_heads(all, {layer_gates, nullptr, true}),
                          current.data());
      std::swap(input, current);
    }
  }
}

}  // namespace duo
