// Whole-sample operations of the CUDA backend against the CPU's, on small models of every kind that changes a path:
// GQA, Q/K norm, biases, tied embeddings, int8 weights, dynamic rope scaling. The CPU runs in fp32 on the same bf16 or
// int8 weights, so that the difference is the GPU path's rounding between operations.
#include <cstring>
#include <functional>
#include <random>

#include "changed_weights.h"
#include "core/weight_map.h"
#include "cuda_test.h"
#include "model_case.h"
#include "reference_transformer.h"

#include "core/backend.h"
#include "cuda/cuda_model.h"

using namespace duo;
using namespace duo::test;

namespace {

void test_case(const Case &c) {
  const std::string name = std::string(c.name) + ": ";
  const ModelConfig config = make_config(c);
  Task task;
  const ModelPair pair = open_pair(c, 3, task);
  const auto &cpu = pair.cpu, &gpu = pair.gpu;
  const bool is_int8 = c.weights == Dtype::int8;
  expect(gpu->device().rfind("cuda:0", 0) == 0 && gpu->weight_bytes() > 0, name + "names its device");
  Random values(static_cast<uint64_t>(c.tokens));
  std::vector<int32_t> tokens, positions, targets;
  for (int64_t i = 0; i < c.tokens; i++) tokens.push_back(static_cast<int32_t>(values.below(c.vocab)));
  for (int64_t i = c.tokens / 2; i < c.tokens; i += i % 3 + 1) positions.push_back(static_cast<int32_t>(i));
  for (size_t i = 0; i < positions.size(); i++) targets.push_back(static_cast<int32_t>(values.below(c.vocab)));
  const Passage passage{tokens.data(), c.tokens, positions.data(), static_cast<int64_t>(positions.size())};
  const Window window{3, 11};
  std::vector<int64_t> recents;  // each head its own
  for (int64_t i = 0; i < config.num_gates(); i++) recents.push_back(window.recent + 3 * (i % 5));
  const HeadWindows windows{window.sink, recents.data()};
  std::vector<float> gates, ones(static_cast<size_t>(config.num_gates()), 1.0f), probes;
  for (int64_t i = 0; i < config.num_gates(); i++)
    gates.push_back(i % 4 == 0 ? 1.0f : i % 4 == 1 ? 0.0f : 0.25f * static_cast<float>(i % 4)), probes.push_back(0.5f);

  const double measured = is_int8 ? tolerance::int8_model : tolerance::f16_model;
  const auto rows = positions.size();
  struct Step {
    double loss = 0;
    std::vector<float> gradient;
    bool operator==(const Step &o) const { return loss == o.loss && gradient == o.gradient; }
  };
  for (const int32_t flags :
       {DUO_DISTILL_DEFAULT, DUO_DISTILL_TEACHER_BRANCH, DUO_DISTILL_KL, DUO_DISTILL_KL | DUO_DISTILL_TEACHER_BRANCH}) {
    const auto run = [&](DuoModel &model) {
      Step step;
      step.gradient.assign(static_cast<size_t>(config.num_gates()), 0);
      model.distill(passage, gates.data(), windows, flags, task, &step.loss, step.gradient.data());
      return step;
    };
    const Step expected = run(*cpu);
    const bool is_kl = (flags & DUO_DISTILL_KL) != 0;
    const std::string variant =
        name + (is_kl ? "KL, " : "") + (flags & DUO_DISTILL_TEACHER_BRANCH ? "teacher branch, " : "");
    const Step got = run_in_every_order<Step>(variant + "distill", [&] { return run(*gpu); });
    expect_within(std::fabs(got.loss - expected.loss) / expected.loss, tolerance::bf16_loss, variant + "loss");
    expect_within(relative_error(got.gradient, expected.gradient), tolerance::gate_gradient, variant + "gate gradient");
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
  gpu->distill(passage, ones.data(), windows, DUO_DISTILL_DEFAULT, task, &law, law_gradient.data());
  expect_within(law, 1e-6, name + "loss with all gates 1");
  const auto hidden = [&](DuoModel &model, const float *given) {
    std::vector<float> out(rows * static_cast<size_t>(c.hidden));
    model.hidden(passage, given, windows, task, out.data());
    return out;
  };
  const auto full = hidden(*gpu, nullptr);
  expect_within(relative_error(full, hidden(*cpu, nullptr)), measured, name + "hidden, full");
  expect_within(relative_error(hidden(*gpu, gates.data()), hidden(*cpu, gates.data())), measured,
                name + "hidden, gated");
  expect(hidden(*gpu, ones.data()) == full, name + "gates of 1 are full, bit for bit");
  const auto logits = [&](DuoModel &model) {
    std::vector<float> out(rows * static_cast<size_t>(c.vocab));
    model.logits(passage, gates.data(), windows, task, out.data());
    return out;
  };
  const auto gpu_logits = logits(*gpu);
  expect_within(relative_error(gpu_logits, logits(*cpu)), measured, name + "logits");
  std::vector<float> scores(rows);
  std::vector<int32_t> predictions(rows);
  gpu->evaluate(passage, targets.data(), gates.data(), windows, task, scores.data(), predictions.data());
  double worst = 0;
  bool is_best = true;
  for (size_t row = 0; row < rows; row++) {
    const float *at = gpu_logits.data() + row * static_cast<size_t>(c.vocab);
    double sum = 0;
    for (int64_t i = 0; i < c.vocab; i++) sum += std::exp(static_cast<double>(at[i]));
    worst = worse(worst,
                  std::fabs(static_cast<double>(at[targets[row]]) - std::log(sum) - static_cast<double>(scores[row])));
    // Logits are of order 1: where the measured ones differ by more than the rounding of both, the prediction is
    // theirs.
    const auto best = std::max_element(at, at + c.vocab) - at;
    is_best = is_best && at[best] - at[predictions[row]] <= 2 * static_cast<float>(tolerance::bf16_model);
  }
  expect_within(worst, 2 * tolerance::bf16_model,
                name + "log-probabilities, in the deployed model's bf16, against the measured logits");
  expect(is_best, name + "predictions are the largest logits");
  const int64_t begin = std::max<int64_t>(0, config.num_gates() - 3), end = config.num_gates();
  const auto probe = [&](DuoModel &model) {
    std::vector<float> out(static_cast<size_t>(end - begin) * rows * static_cast<size_t>(c.hidden));
    model.probe(passage, gates.data(), probes.data(), begin, end, windows, task, out.data());
    return out;
  };
  // Differences are small against what they are differences of: held to a share of the hidden states' own rounding.
  const auto gpu_probe = probe(*gpu), cpu_probe = probe(*cpu);
  double largest = 0, error = 0;
  for (const float x : full) largest = std::max(largest, std::fabs(static_cast<double>(x)));
  for (size_t i = 0; i < cpu_probe.size(); i++)
    error = worse(error, std::fabs(static_cast<double>(gpu_probe[i]) - static_cast<double>(cpu_probe[i])));
  expect_within(error / largest, measured, name + "probe");
  // Of gates that are 0 or 1 a probe is the difference of two forwards, bit for bit, however many heads run side by
  // side and wherever the call begins.
  const auto count = static_cast<size_t>(config.num_gates()), values_each = rows * static_cast<size_t>(c.hidden);
  std::vector<float> mask(count), flipped(count), all(count * values_each);
  for (size_t i = 0; i < count; i++)
    mask[i] = static_cast<float>(i % 3 != 0), flipped[i] = i % 5 == 4 ? mask[i] : 1 - mask[i];
  auto &lanes = static_cast<cuda::CudaModel &>(*gpu);
  const auto probe_range = [&](size_t from, size_t to) {
    std::vector<float> out((to - from) * values_each);
    gpu->probe(passage, mask.data(), flipped.data(), static_cast<int64_t>(from), static_cast<int64_t>(to), windows,
               task, out.data());
    return out;
  };
  all = probe_range(0, count);
  bool is_difference = true, is_same = true;
  const auto unchanged = hidden(*gpu, mask.data());
  for (size_t head = 0; head < count; head++) {
    std::vector<float> changed = mask;
    changed[head] = flipped[head];
    const auto other = hidden(*gpu, changed.data());
    for (size_t i = 0; i < values_each; i++)
      is_difference = is_difference && all[head * values_each + i] == unchanged[i] - other[i];
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
  expect(std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(from * values_each)),
         name + "a probe has the same bits from a later head on");
  // A sketch: the CPU's products, the same bits however many vectors are carried at once, and none where a window holds
  // all.
  const std::vector<int64_t> ladder{5, 11, 30, 2 * c.tokens};
  const int64_t num_vectors = 3, num_windows = static_cast<int64_t>(ladder.size());
  std::vector<float> vectors;
  for (size_t i = 0; i < static_cast<size_t>(num_vectors) * values_each; i++)
    vectors.push_back(values.below(2) == 0 ? -1.0f : 1.0f);
  std::vector<float> base_gates = ones;
  const auto sketch = [&](DuoModel &model) {
    std::vector<float> out(static_cast<size_t>(num_vectors * num_windows) * count);
    model.sketch(passage, base_gates.data(), windows, vectors.data(), num_vectors, ladder.data(), num_windows,
                 window.sink, task, out.data());
    return out;
  };
  const auto products = run_in_every_order<std::vector<float>>(name + "sketch", [&] { return sketch(*gpu); });
  expect_within(relative_error(products, sketch(*cpu)), tolerance::sketch, name + "sketch");
  bool is_closed = true;
  for (size_t i = 0; i < products.size(); i += static_cast<size_t>(num_windows))
    is_closed = is_closed && products[i + static_cast<size_t>(num_windows) - 1] == 0;
  expect(is_closed, name + "a sketch of a window that holds all tokens is 0");
  for (int64_t most = 1; most < num_vectors; most++) {
    lanes.limit_sketch_vectors(most);
    expect(sketch(*gpu) == products,
           name + "a sketch has the same bits with " + std::to_string(most) + " vectors at once");
  }
  lanes.limit_sketch_vectors(num_vectors);
  // Around a mask: the heads that it leaves open.
  base_gates = mask;
  const auto keep_open = [&](std::vector<float> out) {
    for (size_t i = 0; i < out.size(); i++)
      out[i] = mask[i / static_cast<size_t>(num_windows) % count] == 0 ? 0 : out[i];
    return out;
  };
  expect_within(relative_error(keep_open(sketch(*gpu)), keep_open(sketch(*cpu))), tolerance::sketch,
                name + "sketch around a mask");
  // What heads attend to: masses and means as the CPU has them. A top key may be another where two scores are equal but
  // for rounding.
  const auto num_heads = static_cast<size_t>(c.layers * c.heads);
  const auto read = [&](DuoModel &model, const std::vector<int32_t> &ranges, std::vector<int32_t> &tops) {
    std::vector<float> out(rows * num_heads + static_cast<size_t>(c.layers * (c.heads + c.kv_heads) * c.head_dim));
    tops.resize(rows * num_heads);
    float *queries = out.data() + rows * num_heads, *keys = queries + c.layers * c.heads * c.head_dim;
    model.attention(passage, {ranges.data(), out.data(), tops.data(), queries, keys}, task);
    return out;
  };
  std::vector<int32_t> ranges, gpu_tops, cpu_tops;
  for (size_t row = 0; row < rows; row++) ranges.push_back(positions[row] / 3), ranges.push_back(positions[row]);
  const auto reading =
      run_in_every_order<std::vector<float>>(name + "attention", [&] { return read(*gpu, ranges, gpu_tops); });
  const auto cpu_reading = read(*cpu, ranges, cpu_tops);
  const auto masses_end = static_cast<std::ptrdiff_t>(rows * num_heads);
  const auto part_of = [&](const std::vector<float> &all_values, bool is_mean) {
    return is_mean ? std::vector<float>(all_values.begin() + masses_end, all_values.end())
                   : std::vector<float>(all_values.begin(), all_values.begin() + masses_end);
  };
  expect_within(relative_error(part_of(reading, false), part_of(cpu_reading, false)), tolerance::attention_reading,
                name + "attention: masses");
  expect_within(relative_error(part_of(reading, true), part_of(cpu_reading, true)), tolerance::attention_reading,
                name + "attention: mean queries and keys");
  size_t same_tops = 0;
  for (size_t i = 0; i < gpu_tops.size(); i++) same_tops += gpu_tops[i] == cpu_tops[i];
  expect(20 * same_tops >= 19 * gpu_tops.size(), name + "attention: at most one top key in twenty is another (" +
                                                     std::to_string(gpu_tops.size() - same_tops) + ")");
  int64_t memory = 0;
  double operations = 0, cpu_operations = 0;
  int64_t cpu_memory = 0;
  gpu->estimate_distill(c.tokens, 4, {window.sink, recents.data()}, &memory, &operations);
  cpu->estimate_distill(c.tokens, 4, {window.sink, recents.data()}, &cpu_memory, &cpu_operations);
  expect(memory > 0 && operations == cpu_operations, name + "estimates count the same operations");
}

// A law: the gradient is that of the loss which the GPU computes, in one gate per layer. The loss is rounded, so the
// steps are wide; the loss is nearly quadratic in a gate, whose central difference is exact at any width.
void test_finite_differences(int32_t flags) {
  const Case c{"", 3, 4, 2, 32, 64, 96, 50, 100, true, false, false, Dtype::stored};
  const ModelConfig config = make_config(c);
  Task task;
  const auto gpu = open_cuda_model(config, make_random_weights(config, 9, Dtype::bf16, task),
                                   {0, "", 0, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
  Random random(4);
  std::vector<int32_t> tokens, positions;
  for (int64_t i = 0; i < c.tokens; i++) tokens.push_back(static_cast<int32_t>(random.below(c.vocab)));
  for (int32_t i = 30; i < c.tokens; i++) positions.push_back(i);  // more than logits are held of at once
  const Passage passage{tokens.data(), c.tokens, positions.data(), static_cast<int64_t>(positions.size())};
  std::vector<float> gates(static_cast<size_t>(config.num_gates()), 0.5f), gradient(gates.size()), unused(gates.size());
  std::vector<int64_t> recents;
  for (int64_t i = 0; i < config.num_gates(); i++) recents.push_back(7 + i);
  const auto loss_of = [&](const std::vector<float> &given, float *to) {
    double loss = 0;
    gpu->distill(passage, given.data(), {2, recents.data()}, flags, task, &loss, to);
    return loss;
  };
  loss_of(gates, gradient.data());
  std::vector<double> differences, found;
  for (int64_t layer = 0; layer < c.layers; layer++) {
    const auto at = static_cast<size_t>(layer * c.kv_heads + layer % c.kv_heads);
    std::vector<float> above = gates, below = gates;
    above[at] += 0.25f, below[at] -= 0.25f;
    differences.push_back((loss_of(above, unused.data()) - loss_of(below, unused.data())) / 0.5);
    found.push_back(gradient[at]);
  }
  expect_within(relative_error(found, differences), tolerance::finite_difference,
                std::string("finite differences of the ") + (flags == DUO_DISTILL_KL ? "KL divergence" : "loss") +
                    ", one gate per layer");
}

// A sketch around a mask against central differences of a transformer in fp64: every open head and window, each one
// gate moved a little.
void test_sketch_exactly() {
  const Case c{"", 3, 4, 2, 32, 64, 96, 50, 60, true, false, false, Dtype::stored};
  const ModelConfig config = make_config(c);
  Task task;
  const auto weights = make_random_weights(config, 9, Dtype::bf16, task);
  const auto gpu = open_cuda_model(config, weights, {0, "", 0, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
  Random random(4);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < c.tokens; i++) tokens.push_back(static_cast<int32_t>(random.below(c.vocab)));
  const std::vector<int32_t> positions{31, 44, 45, 59};
  const Passage passage{tokens.data(), c.tokens, positions.data(), static_cast<int64_t>(positions.size())};
  const std::vector<int64_t> ladder{4, 9, 25};
  const int64_t sink = 2, num_windows = static_cast<int64_t>(ladder.size()), num_vectors = 2,
                each = passage.num_positions * c.hidden;
  const std::vector<float> vectors = random.values(num_vectors * each);
  std::vector<float> products(static_cast<size_t>(num_vectors * config.num_gates() * num_windows));
  std::vector<float> base(static_cast<size_t>(config.num_gates()), 1.0f);
  base[1] = base[4] = 0;
  const std::vector<int64_t> base_windows{1, 7, 1, 1, 12, 1};
  gpu->sketch(passage, base.data(), {sink, base_windows.data()}, vectors.data(), num_vectors, ladder.data(),
              num_windows, sink, task, products.data());
  const double step = 1e-3;
  std::vector<double> expected(products.size());
  for (int64_t gate = 0; gate < config.num_gates(); gate++) {
    for (int64_t window = 0; window < num_windows; window++) {
      if (base[static_cast<size_t>(gate)] == 0) {
        for (int64_t vector = 0; vector < num_vectors; vector++)
          products[static_cast<size_t>((vector * config.num_gates() + gate) * num_windows + window)] = 0;
        continue;
      }
      const auto hidden = [&](double moved) {
        return reference_hidden(
            config, *weights, tokens, Dtype::f32, false,
            [&](int64_t layer, int64_t head, int64_t i, int64_t j) {
              const auto at = static_cast<size_t>(layer * c.kv_heads + head);
              return base[at] == 1 || j < sink || i - j < base_windows[at];
            },
            [&](int64_t layer, int64_t head) { return layer * c.kv_heads + head == gate ? moved : 1.0; },
            [&](int64_t, int64_t, int64_t i, int64_t j) {
              return j < sink || i - j < ladder[static_cast<size_t>(window)];
            });
      };
      const Matrix above = hidden(1 + step), below = hidden(1 - step);
      for (int64_t vector = 0; vector < num_vectors; vector++) {
        double product = 0;
        for (int64_t i = 0; i < each; i++) {
          const auto at = static_cast<size_t>(positions[static_cast<size_t>(i / c.hidden)] * c.hidden + i % c.hidden);
          product += vectors[static_cast<size_t>(vector * each + i)] * (above[at] - below[at]) / (2 * step);
        }
        expected[static_cast<size_t>((vector * config.num_gates() + gate) * num_windows + window)] = product;
      }
    }
  }
  expect_within(relative_error(products, expected), tolerance::sketch, "a sketch against fp64");
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
    open_cuda_model(config, make_random_weights(config, 1, Dtype::bf16, task),
                    {device, "", 0, shape.weights, DUO_COMPUTE_ACCURATE}, task);
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

// Some tensors times a factor.
ChangedWeights::Change times(const std::function<float(const std::string &)> &factor) {
  return [factor](const std::string &name, std::vector<float> &values, int64_t) {
    for (float &value : values) value *= factor(name);
  };
}

float round_to_bits(float value, int bits) {
  int exponent = 0;
  const float fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, bits)), exponent - bits);
}

// Measurements on the GPU are as near to fp32 as f16 products allow, whatever the weights are stored in: none is
// rounded to bf16, small ones keep their precision, and an MLP whose product passes f16's end is scaled.
void test_measured_range() {
  const Case c{"", 3, 4, 2, 32, 64, 96, 50, 40, false, false, false, Dtype::stored};
  const ModelConfig config = make_config(c);
  Task task;
  const auto drawn = make_random_weights(config, 5, Dtype::f32, task);
  const auto is_mlp_input = [](const std::string &name) {
    return name.find("gate_proj") != std::string::npos || name.find("up_proj") != std::string::npos;
  };
  const auto is_down = [](const std::string &name) { return name.find("down_proj") != std::string::npos; };
  struct Change {
    const char *name;
    std::function<float(const std::string &)> factor;
  };
  std::vector<int32_t> tokens, positions{20, 31, 39};
  for (int32_t i = 0; i < 40; i++) tokens.push_back(i * 7 % 50);
  const Passage passage{tokens.data(), 40, positions.data(), 3};
  const std::vector<int64_t> recents(static_cast<size_t>(config.num_gates()), 9);
  const HeadWindows windows{2, recents.data()};
  std::vector<float> ones(static_cast<size_t>(config.num_gates()), 1.0f), zeros(ones.size(), 0.0f);
  for (const Change &change : {Change{"weights in fp32", [](const std::string &) { return 1.0f; }},
                               Change{"an MLP beyond f16's range", [&](const std::string &name) {
                                        return is_mlp_input(name) ? 2e3f : is_down(name) ? 1e-6f : 1.0f;
                                      }}}) {
    const auto weights = std::make_shared<ChangedWeights>(config, *drawn, times(change.factor));
    const auto cpu = open_cpu_model(config, weights, {0, "", 2, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
    const auto gpu = open_cuda_model(config, weights, {0, "", 0, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
    const auto probe = [&](DuoModel &model) {
      std::vector<float> out(ones.size() * 3 * static_cast<size_t>(c.hidden));
      model.probe(passage, ones.data(), zeros.data(), 0, config.num_gates(), windows, task, out.data());
      return out;
    };
    const auto hidden = [&](DuoModel &model) {
      std::vector<float> out(3 * static_cast<size_t>(c.hidden));
      model.hidden(passage, zeros.data(), windows, task, out.data());
      return out;
    };
    expect_within(relative_error(hidden(*gpu), hidden(*cpu)), tolerance::f16_model,
                  std::string(change.name) + ": hidden");
    expect_within(relative_error(probe(*gpu), probe(*cpu)), 4 * tolerance::f16_model,
                  std::string(change.name) + ": probe");
    expect(probe(*gpu) == probe(*gpu), std::string(change.name) + ": the same bits again");
    // Sixteen vectors, so that the error is a mean over draws and not one product's luck.
    constexpr int64_t num_vectors = 16;
    const auto sketch = [&](DuoModel &model) {
      const std::vector<int64_t> ladder{9, 20};
      std::vector<float> vectors(num_vectors * 3 * static_cast<size_t>(c.hidden)),
          out(num_vectors * ladder.size() * ones.size());
      std::mt19937 random(17);
      for (float &value : vectors) value = random() % 2 == 0 ? -1.0f : 1.0f;
      model.sketch(passage, ones.data(), windows, vectors.data(), num_vectors, ladder.data(), 2, windows.sink, task,
                   out.data());
      return out;
    };
    // What rounding the weights to bf16's 8 bits, in which the derivatives go back, does to the CPU's own: an MLP with gates of thousands bends sharply, and
    // its derivative moves by more than its value.
    const auto rounded = std::make_shared<ChangedWeights>(config, *weights,
                                                          [](const std::string &, std::vector<float> &values, int64_t) {
                                                            for (float &value : values) value = round_to_bits(value, 8);
                                                          });
    const auto near = open_cpu_model(config, rounded, {0, "", 2, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
    const auto exact = sketch(*cpu);
    const double inherent = relative_error(sketch(*near), exact);
    expect(inherent < 0.05, std::string(change.name) + ": rounded weights give nearly the same sketch");
    expect_within(relative_error(sketch(*gpu), exact), std::max(static_cast<double>(tolerance::sketch), 2 * inherent),
                  std::string(change.name) + ": sketch");
  }
  // Weights far below f16's normal range keep its precision.
  {
    const auto weights = std::make_shared<ChangedWeights>(
        config, *drawn,
        times([](const std::string &name) { return name.find("o_proj") != std::string::npos ? 1e-7f : 1.0f; }));
    const auto gpu = open_cuda_model(config, weights, {0, "", 0, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
    auto &model = static_cast<cuda::CudaModel &>(*gpu);
    model.require_f16(task);
    const cuda::Stream stream;
    const cuda::F16Matrix &matrix = model.layers().description(1).output.f16;
    const auto values = download(matrix.values, stream);
    const Tensor &stored = weights->get("model.layers.1.self_attn.o_proj.weight");
    double worst = 0;
    for (size_t i = 0; i < values.size(); i++) {
      const double expected = reinterpret_cast<const float *>(stored.data)[i],
                   got = static_cast<double>(f16_to_float(values[i])) * matrix.unit;
      worst = worse(worst, expected == 0 ? std::fabs(got) : std::fabs(got - expected) / std::fabs(expected));
    }
    expect_within(worst, 0x1p-11, "small weights as f16, each against itself");
  }
  // A projection has no scale to follow it: refused with the cure.
  const auto weights = std::make_shared<ChangedWeights>(config, *drawn, times([](const std::string &name) {
                                                          return name.find("v_proj") != std::string::npos ? 1e6f : 1.0f;
                                                        }));
  const auto gpu = open_cuda_model(config, weights, {0, "", 0, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
  std::vector<float> out(3 * static_cast<size_t>(c.hidden));
  int32_t status = DUO_STATUS_OK;
  try {
    gpu->hidden(passage, nullptr, windows, task, out.data());
  } catch (const Error &error) {
    status = error.status();
  }
  expect(status == DUO_STATUS_NUMERIC, "values beyond f16's range are refused");
}

int main() {
  test_finite_differences(DUO_DISTILL_DEFAULT);
  test_finite_differences(DUO_DISTILL_KL);
  test_sketch_exactly();
  test_measured_range();
  test_case({"gqa", 3, 4, 2, 32, 64, 96, 50, 70, false, false, false, Dtype::stored});
  test_case({"norms, bias, tied, dynamic rope", 2, 4, 1, 64, 72, 80, 33, 75, true, true, true, Dtype::bf16});
  test_case({"one layer", 1, 4, 2, 32, 64, 96, 50, 40, false, false, false, Dtype::stored});
  test_case({"int8", 2, 2, 2, 32, 64, 48, 40, 60, false, true, true, Dtype::int8});
  // The other head sizes, each with its own tiles.
  test_case({"head size 80", 2, 4, 2, 80, 64, 48, 40, 75, true, false, false, Dtype::stored});
  test_case({"head size 96", 2, 4, 2, 96, 64, 48, 40, 75, false, true, false, Dtype::stored});
  test_case({"head size 192", 2, 2, 1, 192, 64, 48, 40, 75, true, false, false, Dtype::stored});
  test_case({"head size 256", 2, 2, 1, 256, 64, 48, 40, 75, false, false, false, Dtype::stored});
  test_refusals();
  return finish("test_cuda_model");
}
