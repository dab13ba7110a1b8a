// Floating-point operations of one distillation step, the same count for every device: linear layers and attention,
// each KV head with a window of its own.
#pragma once
#include <algorithm>

#include "core/backend.h"

namespace duo {

// `windows` has all heads of the model.
inline double count_distill_operations(const ModelConfig &config, int64_t num_tokens, int64_t num_positions,
                                       const HeadWindows &windows) {
  const double tokens = static_cast<double>(num_tokens), rows = static_cast<double>(num_positions),
               layers = static_cast<double>(config.layers);
  const double hidden = static_cast<double>(config.hidden), query = static_cast<double>(config.query_width()),
               kv = static_cast<double>(config.kv_width());
  // Linear layers four times: teacher, student, recompute (which stops before the down projection), input gradient; the
  // last layer's rows only.
  const double linear_all =
      2 * (2 * hidden * query + 2 * hidden * kv + 3 * hidden * static_cast<double>(config.intermediate));
  const double linear_keys = 2 * 2 * hidden * kv;
  const double linear =
      4 * ((layers - 1) * tokens * linear_all + tokens * linear_keys + rows * (linear_all - linear_keys));
  // Scores and values of the causal half: three forwards and a backward of 2.5; a streaming branch looks at its window
  // only.
  double pairs = 0;
  for (int64_t gate = 0; gate < config.num_gates(); gate++) {
    const Window window = windows.of(gate);
    // S and R are each bounded by the ABI, so the sum cannot overflow
    const double visible = static_cast<double>(std::min(num_tokens, window.sink + window.recent));
    const bool is_last = gate >= config.num_gates() - config.kv_heads;
    pairs += is_last ? rows * (tokens + visible)
                     : tokens * tokens / 2 + visible * visible / 2 + (tokens - visible) * visible;
  }
  return linear + 5.5 * 4 * query / static_cast<double>(config.kv_heads) * pairs;
}

}  // namespace duo
