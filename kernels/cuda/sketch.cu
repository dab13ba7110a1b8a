// What closing each head to each of several windows does to the final hidden states, seen through vectors over them
// (cpu/sketch.cpp). Two passes: one in f16 goes forward and says what each window takes from each head's output, since
// that is a difference of outputs that nearly agree; the other, in bf16, carries the vectors back, a layer for all of
// them at a time. How many are carried at once does not change a bit of the results.
#include <algorithm>
#include <optional>

#include "cuda/branch_gradient.h"
#include "cuda/ladder_products.h"
#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {
namespace {

constexpr double MAX_FREE_MEMORY_SHARE = 0.8;  // the rest is for products' own memory and other programs

// Gradients of several vectors on their way down, each kind in one piece: many allocations take longer than a small
// model's passes.
class Carried {
 public:
  Carried(int64_t count, int64_t stream, int64_t last, int64_t mixed)
      : stream_(stream),
        last_(last),
        mixed_(mixed),
        streams_(count * stream),
        lasts_(count * last),
        d_mixed_(count * mixed) {}
  float *stream(int64_t i) const { return streams_.data() + i * stream_; }  // [T, C] of a layer's input
  float *last(int64_t i) const { return lasts_.data() + i * last_; }        // [P, C] of the last layer's output
  bf16 *d_mixed(int64_t i) const { return d_mixed_.data() + i * mixed_; }   // [rows, H, D]

 private:
  int64_t stream_, last_, mixed_;
  DeviceBuffer<float> streams_, lasts_;
  DeviceBuffer<bf16> d_mixed_;
};

}  // namespace

// Inputs [T, C] of all layers and the last layer's output [P, C], under the pass's gates. False where an MLP's product
// did not fit f16; `scales` are lower then.
bool CudaModel::keep_inputs(SamplePass &pass, MlpScales &scales, float *inputs, float *last) const {
  const int64_t each = pass.num_tokens() * config_.hidden;
  layers_.expect({1, -1});
  pass.embed(inputs);
  for (int64_t layer = 0; layer < config_.layers; layer++) {
    const DeviceRows rows = pass.rows_of(layer);
    const float *x = inputs + layer * each;
    pass.attend_layer(layer, x, rows);
    if (rows.is_all) {
      float *next = inputs + (layer + 1) * each;
      check(cudaMemcpyAsync(next, x, static_cast<size_t>(each) * sizeof(float), cudaMemcpyDeviceToDevice,
                            pass.stream().get()),
            "keeping a layer's input");
      pass.finish_layer(layer, next, rows.count);
    } else {
      pass.gather(x, rows, last);
      pass.finish_layer(layer, last, rows.count);
    }
    pass.pace();
  }
  return scales.fit(pass.read_peaks());
}

int64_t CudaModel::choose_sketch_vectors(const Passage &passage, int64_t most) const {
  const int64_t tokens = count_needed_tokens(passage), rows = config_.layers > 1 ? tokens : passage.num_positions;
  const int64_t bytes = 4 * (tokens + passage.num_positions) * config_.hidden + 2 * rows * config_.query_width();
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
  const auto room = static_cast<int64_t>(MAX_FREE_MEMORY_SHARE * static_cast<double>(free_bytes)) - beside_pass_bytes();
  return std::clamp<int64_t>(room / bytes, 1, std::min(most, most_sketch_vectors_));
}

void CudaModel::sketch(const Passage &passage, const float *base_gates, const HeadWindows &base_windows,
                       const float *vectors, int64_t num_vectors, const int64_t *windows, int64_t num_windows,
                       int64_t sink, Task &task, float *products) {
  select_device();
  const LayerTurn turn(layers_, task);
  require_f16(task);
  const int64_t tokens = count_needed_tokens(passage), looked_at = passage.num_positions, hidden = config_.hidden,
                layers = config_.layers, kv_heads = config_.kv_heads;
  const int64_t most_rows = layers > 1 ? tokens : looked_at, query_width = config_.query_width();
  task.set_total(layers * (1 + num_vectors));
  const HeadWindows with_windows{sink, base_windows.recent};
  DeviceBuffer<float> inputs(layers * tokens * hidden), last(looked_at * hidden),
      differences(num_windows * most_rows * query_width), deltas(num_windows * config_.heads * most_rows);
  DeviceBuffer<float> found(num_vectors * layers * num_windows * kv_heads);  // [vectors, L, windows, G]
  DeviceBuffer<double> partial(num_windows * kv_heads * GATE_SLICES);
  std::optional<Carried> made_room;
  MlpScales scales(layers);
  std::optional<SamplePass> made;
  do {
    made.emplace(*this, passage, with_windows, PassRole::probe, 0, task, PassArithmetic{Half::f16, scales.data()});
    made->set_gates(base_gates);
  } while (!keep_inputs(*made, scales, inputs.data(), last.data()));
  SamplePass &forward = *made;
  SamplePass back(*this, passage, with_windows, PassRole::sketch, 0, task);
  back.set_gates(base_gates);
  require_finite_f16(last.data(), last.count(), forward.stream());
  for (int64_t layer = 0; layer < layers; layer++) task.add_done();

  const int64_t at_once = choose_sketch_vectors(passage, num_vectors);
  const Carried &carried = made_room.emplace(at_once, tokens * hidden, looked_at * hidden, most_rows * query_width);
  for (int64_t first = 0; first < num_vectors; first += at_once) {
    const int64_t count = std::min(at_once, num_vectors - first);
    layers_.expect({-1, first + count < num_vectors ? layers - 1 : -1});
    for (int64_t i = 0; i < count; i++) {
      // The vector itself goes where its gradient's stream will be.
      copy_to_device(carried.stream(i), vectors + (first + i) * looked_at * hidden, looked_at * hidden, back.stream());
      check(launch_rms_norm_backward(last.data(), final_norm_.data(), carried.stream(i), looked_at, hidden,
                                     config_.rms_norm_eps, carried.last(i), back.stream().get()),
            "the final norm backward");
    }
    for (int64_t layer = layers - 1; layer >= 0; layer--) {
      const DeviceRows rows = forward.rows_of(layer), back_rows = back.rows_of(layer);
      const float *x = inputs.data() + layer * tokens * hidden;
      const int64_t each = rows.count * query_width;
      forward.prepare_layer(layer, x, rows);
      for (int64_t window = 0; window < num_windows; window++) {
        const PassMemory &m = forward.memory();
        forward.attend_window(layer, rows, windows[window], m.full, m.stream);
        check(launch_subtract(m.full, m.stream, each, differences.data() + window * each, forward.stream().get()),
              "a difference");
      }
      forward.stream().wait();
      back.open_layer(layer, x, back_rows);
      std::vector<SamplePass::SketchGradient> gradients;
      for (int64_t i = 0; i < count; i++) {
        gradients.push_back({rows.is_all ? carried.stream(i) : carried.last(i), carried.d_mixed(i)});
      }
      back.backward_mlps(layer, x, back_rows, gradients);
      for (int64_t i = 0; i < count; i++) {
        LadderProducts ladder{};
        ladder.heads = static_cast<int32_t>(config_.heads), ladder.kv_heads = static_cast<int32_t>(kv_heads),
        ladder.head_dim = static_cast<int32_t>(config_.head_dim);
        ladder.num_rows = rows.count, ladder.num_windows = num_windows;
        ladder.d_mixed = carried.d_mixed(i), ladder.mixed = back.memory().mixed,
        ladder.differences = differences.data();
        ladder.full_delta = back.memory().deltas, ladder.deltas = deltas.data(), ladder.partial = partial.data();
        ladder.products = found.data() + ((first + i) * layers + layer) * num_windows * kv_heads;
        check(launch_ladder_products(ladder, back.stream().get()), "products with a ladder");
        // Below layer 0 there is no head, so its input needs no gradient.
        if (layer > 0) back.backward_heads(layer, x, back_rows, carried.d_mixed(i), carried.last(i), carried.stream(i));
        back.pace();
        task.add_done();
      }
      back.stream().wait();  // the next layer's differences go where these were
    }
  }
  std::vector<float> values(static_cast<size_t>(found.count()));
  copy_to_host(values.data(), found.data(), found.count(), back.stream());
  for (int64_t at = 0; at < num_vectors * layers; at++) {
    for (int64_t head = 0; head < kv_heads; head++) {
      for (int64_t window = 0; window < num_windows; window++) {
        products[(at * kv_heads + head) * num_windows + window] =
            values[static_cast<size_t>((at * num_windows + window) * kv_heads + head)];
      }
    }
  }
}

}  // namespace duo::cuda
