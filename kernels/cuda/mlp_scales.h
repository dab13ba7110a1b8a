// Powers of two per layer that keep the MLP's product silu(gate)·up within f16's range in passes that measure. They
// begin at 1, follow the peaks that a pass recorded, and the pass is made again where one did not fit: the result
// depends on the sample alone, not on what was measured before.
#pragma once
#include <cmath>
#include <vector>

#include "core/error.h"
#include "cuda/device.h"

namespace duo::cuda {

// The error of a measurement that f16 cannot hold even so: a projection or an attention output beyond its range.
[[noreturn]] inline void fail_f16_range() {
  fail(DUO_STATUS_NUMERIC,
       "Expected this model's projections to stay within float16's range (at most 65504), in which heads are measured "
       "on CUDA, got a value that does not; "
       "measure with device cpu, or train gates, which compute in bfloat16");
}

// What a pass recorded of each layer, [L] each: the greatest |silu(gate)·up|, unscaled; of queries, keys and values
// what lies beyond f16's range, else 0.
struct F16Peaks {
  std::vector<float> mlp, projections;
  // Those of several passes together.
  void raise(const F16Peaks &other) {
    const auto raise_all = [](std::vector<float> &to, const std::vector<float> &from) {
      for (size_t layer = 0; layer < to.size(); layer++) to[layer] = from[layer] <= to[layer] ? to[layer] : from[layer];
    };
    raise_all(mlp, other.mlp), raise_all(projections, other.projections);
  }
};

class MlpScales {
 public:
  explicit MlpScales(int64_t layers) : scales_(static_cast<size_t>(layers), 1.0f) {}
  const float *data() const { return scales_.data(); }

  // Whether the peaks fit. Where not, the scales are lowered, to be tried again: up to the first layer in which
  // something else went wrong, since what comes after it means nothing. Throws NUMERIC where no scale can help.
  bool fit(const F16Peaks &peaks) {
    bool fits = true;
    for (size_t layer = 0; layer < peaks.mlp.size(); layer++) {
      const float peak = peaks.mlp[layer];
      if (peaks.projections[layer] > 0.0f || !std::isfinite(peak)) {
        if (fits) fail_f16_range();
        break;
      }
      if (peak * scales_[layer] <= F16_MAX) continue;
      int exponent = 0;
      std::frexp(peak, &exponent);
      scales_[layer] = std::ldexp(1.0f, ROOM_BITS - exponent);
      fits = false;
    }
    return fits;
  }

 private:
  static constexpr int ROOM_BITS =
      14;  // the peak lands below 2^14, a quarter of the range: other heads' passes move it little
  std::vector<float> scales_;
};

}  // namespace duo::cuda
