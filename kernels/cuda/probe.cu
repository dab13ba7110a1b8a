// One-gate changes of the final hidden states, for the quadratic method. Layers below a head's own are computed once
// for all heads of the call, a layer's two attention branches once for its heads. From there on heads run side by side,
// each in a lane with a stream and buffers of its own: a short sample does not fill the device, and a long one's norms
// and activations overlap another's products. Lanes do not change a bit of the results.
#include <algorithm>
#include <memory>

#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {
namespace {

constexpr int64_t TOKENS_AT_ONCE = 16384;      // of all lanes: products of that many rows run at full rate
constexpr double MAX_FREE_MEMORY_SHARE = 0.8;  // the rest is for products' own memory and other programs

// One probed head on its way from its layer to the end.
struct Lane {
  Lane(const CudaModel &model, const Passage &passage, const HeadWindows &windows, const float *gates,
       const MlpScales &scales, Task &task)
      : pass(model, passage, windows, PassRole::forward, 0, task, {Half::f16, scales.data()}),
        current(count_needed_tokens(passage) * model.config().hidden),
        last(passage.num_positions * model.config().hidden),
        out(passage.num_positions * model.config().hidden) {
    pass.set_gates(gates);
  }
  ~Lane() { cudaStreamSynchronize(pass.stream().get()); }  // an abort leaves work that uses the buffers
  Lane(const Lane &) = delete;
  Lane &operator=(const Lane &) = delete;
  SamplePass pass;
  DeviceBuffer<float> current, last;  // a layer's output [T, C]; the last layer's [P, C]
  DeviceBuffer<float> out;            // [P, C]
};

}  // namespace

int64_t CudaModel::choose_probe_lanes(const Passage &passage) const {
  const int64_t tokens = count_needed_tokens(passage), rows = passage.num_positions;
  const int64_t wanted = std::clamp<int64_t>(TOKENS_AT_ONCE / tokens, 1, std::min(config_.kv_heads, most_probe_lanes_));
  const int64_t bytes = PassMemory::count_bytes(config_, {tokens, rows, PassRole::forward}) +
                        (tokens + 2 * rows) * config_.hidden * 4 + beside_pass_bytes();
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
  return std::clamp<int64_t>(static_cast<int64_t>(MAX_FREE_MEMORY_SHARE * static_cast<double>(free_bytes)) / bytes, 1,
                             wanted);
}

void CudaModel::probe(const Passage &passage, const float *base_gates, const float *probe_gates, int64_t head_begin,
                      int64_t head_end, const HeadWindows &windows, Task &task, float *differences) {
  select_device();
  const LayerTurn turn(layers_, task);
  require_f16(task);
  task.set_total(head_end - head_begin);
  MlpScales scales(config_.layers);
  int64_t num_reported = 0;
  while (!probe_once(passage, base_gates, probe_gates, head_begin, head_end, windows, task, scales, num_reported,
                     differences)) {}
}

// False where an MLP's product did not fit f16; `scales` are lower then. num_reported: heads that the task knows to be
// done.
bool CudaModel::probe_once(const Passage &passage, const float *base_gates, const float *probe_gates,
                           int64_t head_begin, int64_t head_end, const HeadWindows &windows, Task &task,
                           MlpScales &scales, int64_t &num_reported, float *differences) {
  const int64_t width = config_.hidden, rows = passage.num_positions, kv_heads = config_.kv_heads,
                tokens = count_needed_tokens(passage);
  const int64_t first_layer = head_begin / kv_heads, last_layer = (head_end - 1) / kv_heads;
  DeviceBuffer<float> input(tokens * width), base(rows * width);
  SamplePass shared(*this, passage, windows, PassRole::probe, 0, task, {Half::f16, scales.data()});
  shared.set_gates(base_gates);
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int64_t i = choose_probe_lanes(passage); i > 0; i--)
    lanes.push_back(std::make_unique<Lane>(*this, passage, windows, base_gates, scales, task));

  // The probed layer's output, from the mix inside `shared`, to where the lane continues.
  const auto start = [&](int64_t layer, Lane &lane) {
    const DeviceRows looked_at = shared.rows_of(layer);
    float *x = looked_at.is_all ? lane.current.data() : lane.last.data();
    shared.gather(input.data(), looked_at, x);
    shared.finish_layer(layer, x, looked_at.count);
  };
  // From there to the final hidden states of the first `count` lanes, a layer of each in turn.
  const auto run_on = [&](int64_t layer, size_t count) {
    shared.stream().wait();
    for (layer++; layer < config_.layers; layer++) {
      for (size_t i = 0; i < count; i++) {
        Lane &lane = *lanes[i];
        const DeviceRows looked_at = lane.pass.rows_of(layer);
        lane.pass.attend_layer(layer, lane.current.data(), looked_at);
        float *x = lane.current.data();
        if (!looked_at.is_all) {
          lane.pass.gather(lane.current.data(), looked_at, lane.last.data());
          x = lane.last.data();
        }
        lane.pass.finish_layer(layer, x, looked_at.count);
      }
      for (size_t i = 0; i < count; i++) lanes[i]->pass.pace();
    }
    for (size_t i = 0; i < count; i++) {
      Lane &lane = *lanes[i];
      check(launch_rms_norm_f32(lane.last.data(), final_norm_.data(), rows, width, config_.rms_norm_eps,
                                lane.out.data(), lane.pass.stream().get()),
            "the final norm");
    }
  };

  const auto fits = [&](size_t count) {
    F16Peaks peaks = shared.read_peaks();
    for (size_t i = 0; i < count; i++) peaks.raise(lanes[i]->pass.read_peaks());
    return scales.fit(peaks);
  };
  int64_t num_done = 0;
  const auto report = [&] {
    if (++num_done > num_reported) task.add_done(), num_reported = num_done;
  };

  shared.embed(input.data());
  for (int64_t layer = 0; layer <= last_layer; layer++) {
    // Heads run from the probed layer to the end, and the next ones begin at that layer again.
    layers_.expect({1, layer < first_layer ? -1 : layer});
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
      start(layer, *lanes[0]);
      run_on(layer, 1);
      check(cudaMemcpyAsync(base.data(), lanes[0]->out.data(), static_cast<size_t>(rows * width) * sizeof(float),
                            cudaMemcpyDeviceToDevice, lanes[0]->pass.stream().get()),
            "keeping the base");
      lanes[0]->pass.stream().wait();
      if (!fits(1)) return false;
      require_finite_f16(base.data(), rows * width, lanes[0]->pass.stream());
    }
    std::vector<int64_t> heads;
    for (int64_t head = std::max(head_begin, layer * kv_heads); head < std::min(head_end, (layer + 1) * kv_heads);
         head++) {
      if (probe_gates[head] != base_gates[head]) {
        heads.push_back(head);
        continue;
      }
      std::fill_n(differences + (head - head_begin) * rows * width, rows * width, 0.0f);
      report();
    }
    std::vector<float> gates(layer_gates, layer_gates + kv_heads);
    for (size_t first = 0; first < heads.size(); first += lanes.size()) {
      const size_t count = std::min(lanes.size(), heads.size() - first);
      for (size_t i = 0; i < count; i++) {
        const int64_t head = heads[first + i];
        const auto at = static_cast<size_t>(head - layer * kv_heads);
        gates[at] = probe_gates[head];
        shared.mix_again(layer, gates.data(), looked_at);
        gates[at] = base_gates[head];
        start(layer, *lanes[i]);
      }
      run_on(layer, count);
      if (!fits(count)) return false;
      for (size_t i = 0; i < count; i++) {
        Lane &lane = *lanes[i];
        check(launch_subtract(base.data(), lane.out.data(), rows * width, lane.out.data(), lane.pass.stream().get()),
              "a difference");
        copy_to_host(differences + (heads[first + i] - head_begin) * rows * width, lane.out.data(), rows * width,
                     lane.pass.stream());
        report();
      }
    }
    if (layer < last_layer) {
      shared.mix_again(layer, layer_gates, looked_at);
      shared.finish_layer(layer, input.data(), tokens);
    }
  }
  return true;
}

}  // namespace duo::cuda
