// Whole-sample operations of the CUDA backend against the CPU's, on small models of every kind that changes a path: GQA, Q/K norm, biases,
// tied embeddings, int8 weights, dynamic rope scaling. The CPU runs in fp32 on the same bf16 weights, so that the difference is the GPU
// path's rounding to bf16 between operations: 2^-9 at each of some ten per layer, 3e-2 on outputs, twice that on gradients.
#include "core/weight_map.h"
#include "cuda_test.h"

#include "core/backend.h"
#include "cuda/cuda_model.h"

using namespace duo;
using namespace duo::test;

namespace {

constexpr double OUTPUT_TOLERANCE = 3e-2;

struct Case {
  const char *name;
  int64_t layers, heads, kv_heads, head_dim, hidden, intermediate, vocab, tokens;
  bool qk_norm, bias, tied;
  Dtype weights;
};

ModelConfig make_config(const Case &c) {
  ModelConfig config{};
  config.layers = c.layers, config.heads = c.heads, config.kv_heads = c.kv_heads, config.head_dim = c.head_dim;
  config.hidden = c.hidden, config.intermediate = c.intermediate, config.vocab = c.vocab, config.max_positions = 64;
  config.rms_norm_eps = 1e-5f;
  config.tied_embeddings = c.tied, config.qkv_bias = config.output_bias = config.mlp_bias = c.bias, config.qk_norm = c.qk_norm;
  config.rope_type = c.bias ? DUO_ROPE_DYNAMIC : DUO_ROPE_NONE;
  config.rope_factor = 2.0;
  config.rope_original_max_positions = 32;
  config.rope_theta = 10000.0;
  return config;
}

void test_case(const Case &c) {
  const std::string name = std::string(c.name) + ": ";
  const ModelConfig config = make_config(c);
  Task task;
  const auto weights = make_random_weights(config, 3, Dtype::bf16, task);
  const auto cpu = open_cpu_model(config, weights, {0, "", 2, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
  const auto gpu = open_cuda_model(config, weights, {0, "", 0, c.weights, DUO_COMPUTE_ACCURATE}, task);
  expect(gpu->device().rfind("cuda:0", 0) == 0 && gpu->weight_bytes() > 0, name + "names its device");
  Values values(static_cast<uint64_t>(c.tokens));
  std::vector<int32_t> tokens, positions, targets;
  for (int64_t i = 0; i < c.tokens; i++) tokens.push_back(static_cast<int32_t>(values.below(c.vocab)));
  for (int64_t i = c.tokens / 2; i < c.tokens; i += i % 3 + 1) positions.push_back(static_cast<int32_t>(i));
  for (size_t i = 0; i < positions.size(); i++) targets.push_back(static_cast<int32_t>(values.below(c.vocab)));
  const Passage passage{tokens.data(), c.tokens, positions.data(), static_cast<int64_t>(positions.size())};
  const Window window{3, 11};
  std::vector<float> gates, ones(static_cast<size_t>(config.num_gates()), 1.0f), probes;
  for (int64_t i = 0; i < config.num_gates(); i++) gates.push_back(i % 4 == 0 ? 1.0f : i % 4 == 1 ? 0.0f : 0.25f * static_cast<float>(i % 4)), probes.push_back(0.5f);
  const double slack = c.weights == Dtype::int8 ? 3 : 1;  // int8 weights are themselves rounded to 2^-7 of a row's largest

  const auto rows = positions.size();
  struct Step {
    double loss = 0;
    std::vector<float> gradient;
    bool operator==(const Step &o) const { return loss == o.loss && gradient == o.gradient; }
  };
  for (const int32_t flags : {DUO_DISTILL_DEFAULT, DUO_DISTILL_TEACHER_BRANCH}) {
    const auto run = [&](DuoModel &model) {
      Step step;
      step.gradient.assign(static_cast<size_t>(config.num_gates()), 0);
      model.distill(passage, gates.data(), window, flags, task, &step.loss, step.gradient.data());
      return step;
    };
    const Step expected = run(*cpu);
    const std::string variant = name + (flags ? "teacher branch, " : "");
    const Step got = run_in_every_order<Step>(variant + "distill", [&] { return run(*gpu); });
    expect_within(std::fabs(got.loss - expected.loss) / expected.loss, 2 * slack * OUTPUT_TOLERANCE, variant + "loss");
    expect_within(relative_error(got.gradient, expected.gradient), 2 * slack * OUTPUT_TOLERANCE, variant + "gate gradient");
    // Branches kept from the forward are those that attending again gives.
    auto &limited = static_cast<cuda::CudaModel &>(*gpu);
    for (int64_t kept = 0; kept < c.layers; kept++) {
      limited.limit_kept_layers(kept);
      expect(run(*gpu) == got, variant + "the same bits with " + std::to_string(kept) + " layers' branches kept");
    }
    limited.limit_kept_layers(c.layers);
  }
  double law = 1;
  std::vector<float> law_gradient(static_cast<size_t>(config.num_gates()));
  gpu->distill(passage, ones.data(), window, DUO_DISTILL_DEFAULT, task, &law, law_gradient.data());
  expect_within(law, 1e-6, name + "loss with all gates 1");
  const auto hidden = [&](DuoModel &model, const float *given) {
    std::vector<float> out(rows * static_cast<size_t>(c.hidden));
    model.hidden(passage, given, window, task, out.data());
    return out;
  };
  const auto full = hidden(*gpu, nullptr);
  expect_within(relative_error(full, hidden(*cpu, nullptr)), slack * OUTPUT_TOLERANCE, name + "hidden, full");
  expect_within(relative_error(hidden(*gpu, gates.data()), hidden(*cpu, gates.data())), slack * OUTPUT_TOLERANCE, name + "hidden, gated");
  expect(hidden(*gpu, ones.data()) == full, name + "gates of 1 are full, bit for bit");
  const auto logits = [&](DuoModel &model) {
    std::vector<float> out(rows * static_cast<size_t>(c.vocab));
    model.logits(passage, gates.data(), window, task, out.data());
    return out;
  };
  const auto gpu_logits = logits(*gpu);
  expect_within(relative_error(gpu_logits, logits(*cpu)), slack * OUTPUT_TOLERANCE, name + "logits");
  std::vector<float> scores(rows);
  std::vector<int32_t> predictions(rows);
  gpu->evaluate(passage, targets.data(), gates.data(), window, task, scores.data(), predictions.data());
  double worst = 0;
  bool is_best = true;
  for (size_t row = 0; row < rows; row++) {
    const float *at = gpu_logits.data() + row * static_cast<size_t>(c.vocab);
    double sum = 0;
    for (int64_t i = 0; i < c.vocab; i++) sum += std::exp(static_cast<double>(at[i]));
    worst = std::max(worst, std::fabs(static_cast<double>(at[targets[row]]) - std::log(sum) - static_cast<double>(scores[row])));
    is_best = is_best && std::max_element(at, at + c.vocab) - at == predictions[row];
  }
  expect_within(worst, 1e-5, name + "log-probabilities against the own logits");
  expect(is_best, name + "predictions are the first largest");
  const int64_t begin = std::max<int64_t>(0, config.num_gates() - 3), end = config.num_gates();
  const auto probe = [&](DuoModel &model) {
    std::vector<float> out(static_cast<size_t>(end - begin) * rows * static_cast<size_t>(c.hidden));
    model.probe(passage, gates.data(), probes.data(), begin, end, window, task, out.data());
    return out;
  };
  // Differences are small against what they are differences of: held to a share of the hidden states' own rounding.
  const auto gpu_probe = probe(*gpu), cpu_probe = probe(*cpu);
  double largest = 0, error = 0;
  for (const float x : full) largest = std::max(largest, std::fabs(static_cast<double>(x)));
  for (size_t i = 0; i < cpu_probe.size(); i++) error = std::max(error, std::fabs(static_cast<double>(gpu_probe[i]) - static_cast<double>(cpu_probe[i])));
  expect_within(error / largest, 2 * slack * OUTPUT_TOLERANCE, name + "probe");
  // Of gates that are 0 or 1 a probe is the difference of two forwards, bit for bit, however many heads run side by side and wherever the call begins.
  const auto count = static_cast<size_t>(config.num_gates()), values_each = rows * static_cast<size_t>(c.hidden);
  std::vector<float> mask(count), flipped(count), all(count * values_each);
  for (size_t i = 0; i < count; i++) mask[i] = static_cast<float>(i % 3 != 0), flipped[i] = i % 5 == 4 ? mask[i] : 1 - mask[i];
  auto &lanes = static_cast<cuda::CudaModel &>(*gpu);
  const auto probe_range = [&](size_t from, size_t to) {
    std::vector<float> out((to - from) * values_each);
    gpu->probe(passage, mask.data(), flipped.data(), static_cast<int64_t>(from), static_cast<int64_t>(to), window, task, out.data());
    return out;
  };
  all = probe_range(0, count);
  bool is_difference = true, is_same = true;
  const auto unchanged = hidden(*gpu, mask.data());
  for (size_t head = 0; head < count; head++) {
    std::vector<float> changed = mask;
    changed[head] = flipped[head];
    const auto other = hidden(*gpu, changed.data());
    for (size_t i = 0; i < values_each; i++) is_difference = is_difference && all[head * values_each + i] == unchanged[i] - other[i];
  }
  expect(is_difference, name + "a probe is the difference of two forwards, bit for bit");
  for (int64_t most = 1; most < c.kv_heads; most++) {
    lanes.limit_probe_lanes(most);
    is_same = is_same && probe_range(0, count) == all;
  }
  lanes.limit_probe_lanes(c.kv_heads);
  expect(is_same, name + "a probe has the same bits with any number of heads side by side");
  const size_t from = count / 2;
  const auto part = probe_range(from, count);
  expect(std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(from * values_each)), name + "a probe has the same bits from a later head on");
  int64_t memory = 0;
  double operations = 0, cpu_operations = 0;
  int64_t cpu_memory = 0;
  gpu->estimate_distill(c.tokens, 4, window, &memory, &operations);
  cpu->estimate_distill(c.tokens, 4, window, &cpu_memory, &cpu_operations);
  expect(memory > 0 && operations == cpu_operations, name + "estimates count the same operations");
}

void expect_refused(const std::string &part, const std::function<void()> &body) {
  std::string said = "nothing";
  try {
    body();
  } catch (const Error &error) {
    said = error.what();
  }
  expect(said.find(part) != std::string::npos, "an error that says `" + part + "`, got `" + said + "`");
}

void test_refusals() {
  Task task;
  Case c{"", 1, 2, 1, 16, 32, 40, 20, 5, false, false, false, Dtype::stored};
  const auto open = [&](const Case &shape, int device) {
    const ModelConfig config = make_config(shape);
    open_cuda_model(config, make_random_weights(config, 1, Dtype::bf16, task), {device, "", 0, shape.weights, DUO_COMPUTE_ACCURATE}, task);
  };
  expect_refused("head_dim", [&] { open(c, 0); });
  c.head_dim = 32, c.hidden = 36;
  expect_refused("multiples of 8", [&] { open(c, 0); });
  c.hidden = 40, c.weights = Dtype::int8;
  expect_refused("multiples of 16", [&] { open(c, 0); });
  c.hidden = 32, c.intermediate = 48;
  expect_refused("cuda:63", [&] { open(c, 63); });
  task.abort();
  c.weights = Dtype::stored;
  expect_refused("stopped", [&] { open(c, 0); });
}

}  // namespace

int main() {
  test_case({"gqa", 3, 4, 2, 32, 64, 96, 50, 70, false, false, false, Dtype::stored});
  test_case({"norms, bias, tied, dynamic rope", 2, 4, 1, 64, 72, 80, 33, 75, true, true, true, Dtype::bf16});
  test_case({"one layer", 1, 4, 2, 32, 64, 96, 50, 40, false, false, false, Dtype::stored});
  test_case({"int8", 2, 2, 2, 32, 64, 48, 40, 20, false, true, true, Dtype::int8});
  test_refusals();
  return finish();
}
