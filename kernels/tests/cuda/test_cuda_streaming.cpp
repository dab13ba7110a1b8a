// Models whose layers' weights are streamed from pinned host memory: every operation has the bits of the same model with
// all weights on the device, whatever the weights are, whether copies come as early or as late as events allow. Weights
// in host memory that layers share; what chooses where weights are; what is refused.
#include <functional>
#include <list>

#include "core/backend.h"
#include "core/weight_map.h"
#include "cuda/cuda_model.h"
#include "cuda_test.h"
#include "quantized_values.h"

using namespace duo;
using namespace duo::test;

namespace {

constexpr int64_t TOKENS = 19, RECENT = 5;

ModelConfig make_config(int64_t layers, bool is_other, int64_t kv_heads = 1) {
  ModelConfig config{};
  config.layers = layers, config.heads = 2 * kv_heads, config.kv_heads = kv_heads, config.head_dim = 32,
  config.hidden = 64, config.intermediate = 64, config.vocab = 61;
  config.max_positions = 4096, config.rms_norm_eps = 1e-5f, config.rope_theta = 10000.0;
  config.rope_type = DUO_ROPE_NONE;
  config.qk_norm = config.qkv_bias = config.mlp_bias = config.output_bias = config.tied_embeddings = is_other;
  return config;
}

// Matrices of layers in blocks, of a type that differs between matrices and from layer to layer.
class BlockWeights : public WeightMap {
 public:
  BlockWeights(const ModelConfig &config, const WeightMap &others) {
    Random random(5);
    constexpr Dtype TYPES[] = {Dtype::q4_1, Dtype::q8_0, Dtype::q4_0};
    for (const ExpectedTensor &tensor : list_expected_tensors(config)) {
      Tensor made = others.get(tensor.name);
      if (tensor.name.find("_proj.weight") != std::string::npos) {
        const bool is_joined =
            tensor.name.find("q_proj") != std::string::npos || tensor.name.find("k_proj") != std::string::npos ||
            tensor.name.find("gate_proj") != std::string::npos || tensor.name.find("up_proj") != std::string::npos;
        made.dtype = is_joined ? Dtype::q4_0 : TYPES[count_++ % 3];
        bytes_.push_back(draw_blocks(random, made.dtype, tensor.rows * tensor.columns));
        made.data = bytes_.back().data();
      }
      tensors_.emplace(tensor.name, made);
    }
    if (config.tied_embeddings) tensors_.emplace("lm_head.weight", tensors_.at("model.embed_tokens.weight"));
  }

 private:
  std::list<std::vector<uint8_t>> bytes_;
  int64_t count_ = 0;
};

using Results = std::vector<std::pair<std::string, std::vector<uint8_t>>>;

template <typename T>
void keep(Results &results, const std::string &what, const std::vector<T> &values) {
  const auto *bytes = reinterpret_cast<const uint8_t *>(values.data());
  results.push_back({what, {bytes, bytes + values.size() * sizeof(T)}});
}

// What is fed, made once.
struct Inputs {
  std::vector<int32_t> tokens, positions, targets;
  std::vector<float> gates, ones, probes, vectors;
  std::vector<int64_t> windows, session_windows;
  explicit Inputs(const ModelConfig &config) {
    Random values(11);
    for (int64_t i = 0; i < TOKENS; i++) tokens.push_back(static_cast<int32_t>(values.below(config.vocab)));
    for (int64_t i = TOKENS / 2; i < TOKENS; i += 3) positions.push_back(static_cast<int32_t>(i));
    for (size_t i = 0; i < positions.size(); i++) targets.push_back(static_cast<int32_t>(values.below(config.vocab)));
    for (int64_t i = 0; i < config.num_gates(); i++) {
      gates.push_back(i % 3 == 0 ? 1.0f : i % 3 == 1 ? 0.0f : 0.5f);
      ones.push_back(1.0f), probes.push_back(0.5f);
      windows.push_back(RECENT + i % 2), session_windows.push_back(i % 2 == 0 ? 0 : RECENT);
    }
    for (size_t i = 0; i < 3 * positions.size() * static_cast<size_t>(config.hidden); i++)
      vectors.push_back(values.below(2) == 0 ? -1.0f : 1.0f);
  }
  Passage passage() const { return {tokens.data(), TOKENS, positions.data(), static_cast<int64_t>(positions.size())}; }
};

// The gates method's step, under every flag.
void run_distill(DuoModel &model, const Inputs &in, Results &results) {
  Task task;
  for (const int32_t flags : {DUO_DISTILL_DEFAULT, DUO_DISTILL_KL | DUO_DISTILL_TEACHER_BRANCH}) {
    double loss = 0;
    std::vector<float> gradient(in.gates.size());
    model.distill(in.passage(), in.gates.data(), {3, in.windows.data()}, flags, task, &loss, gradient.data());
    keep(results, "loss", std::vector<double>{loss});
    keep(results, "gradient", gradient);
  }
}

// The quadratic method's measurements.
void run_measurements(DuoModel &model, const Inputs &in, Results &results) {
  Task task;
  const ModelConfig &config = model.config();
  const size_t rows = in.positions.size(), each = rows * static_cast<size_t>(config.hidden), heads = in.gates.size();
  const HeadWindows windows{3, in.windows.data()};
  std::vector<float> hidden(each), differences(heads * each), products(3 * heads * 2),
      masses(rows * static_cast<size_t>(config.layers * config.heads));
  model.hidden(in.passage(), in.gates.data(), windows, task, hidden.data());
  keep(results, "hidden states", hidden);
  const auto count = static_cast<int64_t>(heads);
  model.probe(in.passage(), in.ones.data(), in.probes.data(), 0, count / 2, windows, task, differences.data());
  model.probe(in.passage(), in.ones.data(), in.probes.data(), count / 2, count, windows, task,
              differences.data() + static_cast<size_t>(count / 2) * each);
  keep(results, "probe", differences);
  const std::vector<int64_t> ladder = {4, 16};
  model.sketch(in.passage(), in.ones.data(), windows, in.vectors.data(), 3, ladder.data(), 2, 3, task, products.data());
  keep(results, "sketch", products);
  std::vector<int32_t> ranges, tops(masses.size());
  for (const int32_t position : in.positions) ranges.push_back(0), ranges.push_back(position);
  model.attention(in.passage(), {ranges.data(), masses.data(), tops.data(), nullptr, nullptr}, task);
  keep(results, "attention", masses);
}

void run_scores(DuoModel &model, const Inputs &in, Results &results) {
  Task task;
  std::vector<float> scores(in.positions.size());
  std::vector<int32_t> predictions(in.positions.size());
  model.evaluate(in.passage(), in.targets.data(), in.gates.data(), {3, in.windows.data()}, task, scores.data(),
                 predictions.data());
  keep(results, "scores", scores);
}

void run_sessions(const std::shared_ptr<DuoModel> &model, const Inputs &in, Results &results) {
  Task task;
  SessionOptions options{in.session_windows, 3, 80, Dtype::bf16, false, 16};
  const auto session = model->open_session(model, options, task), other = model->open_session(model, options, task);
  std::vector<float> logits(static_cast<size_t>(model->config().vocab));
  const auto look = [&](const char *what, DuoSession &at) {
    at.logits(logits.data());
    keep(results, what, logits);
  };
  session->prefill(in.tokens.data(), TOKENS, task);
  look("prefill", *session);
  other->prefill(in.tokens.data(), TOKENS - 4, task);
  session->decode(7, task);
  look("decode", *session);
  session->decode(9, task);
  look("a second decode", *session);
  DuoSession *both[] = {session.get(), other.get()};
  const int32_t fed[] = {3, 5};
  session->decode_batch(both, fed, 2, task);
  look("a batch", *other);
  std::vector<int32_t> drawn(5);
  session->generate(5, {0.0f, 0, 1.0f, 1}, nullptr, 0, task, drawn.data());
  keep(results, "generated tokens", drawn);
}

Results run_all(const std::shared_ptr<DuoModel> &model, const Inputs &in) {
  Results results;
  run_scores(*model, in, results);
  run_distill(*model, in, results);
  run_sessions(model, in, results);
  run_measurements(*model, in, results);
  run_scores(*model, in, results);  // once more, now that layers come with f16 twins
  return results;
}

void expect_same(const Results &got, const Results &expected, const std::string &what) {
  for (size_t i = 0; i < expected.size(); i++)
    expect(got[i].second == expected[i].second,
           what + ": " + expected[i].first + " has the bits of weights on the device");
}

OpenOptions make_options(Dtype weights, int32_t weights_on) {
  OpenOptions options{0, "", 0, weights, DUO_COMPUTE_ACCURATE};
  options.weights_on = weights_on;
  return options;
}

void test_case(const std::string &name, const ModelConfig &config, const std::shared_ptr<const WeightMap> &weights,
               Dtype dtype, bool in_both_orders = false) {
  const Inputs inputs(config);
  Task task;
  const auto resident = open_cuda_model(config, weights, make_options(dtype, DUO_WEIGHTS_DEVICE), task);
  const Results expected = run_all(resident, inputs);
  expect(resident->streamed_weights().pass_bytes == 0, name + "weights on the device are not streamed");
  const auto compare = [&](const std::string &when) {
    const auto streamed = open_cuda_model(config, weights, make_options(dtype, DUO_WEIGHTS_HOST), task);
    expect(streamed->weight_bytes() == resident->weight_bytes(), name + "as many bytes of weights");
    const StreamedWeights bytes = streamed->streamed_weights();
    expect(bytes.pass_bytes > 0 && bytes.pinned_bytes == bytes.pass_bytes && bytes.device_bytes > 0,
           name + "weights on the host are counted");
    expect_same(run_all(streamed, inputs), expected, name + when);
  };
#ifdef DUO_EMULATION
  for (const auto &[order, when] : {std::pair(emulation::StreamOrder::copies_last, "copies come late"),
                                    std::pair(emulation::StreamOrder::copies_first, "copies come early")}) {
    if (order == emulation::StreamOrder::copies_first && !in_both_orders) continue;
    emulation::set_stream_order(order);
    compare(when);
    emulation::set_stream_order(emulation::StreamOrder::at_once);
  }
#else
  static_cast<void>(in_both_orders);
  compare("streamed");
#endif
}

// A step copies what teacher and student share once, and what it ends with is there for the next.
void test_copies() {
  Task task;
  const ModelConfig config = make_config(5, false);
  const Inputs inputs(config);
  const auto model = open_cuda_model(config, make_random_weights(config, 3, Dtype::bf16, task),
                                     make_options(Dtype::bf16, DUO_WEIGHTS_HOST), task);
  const auto count = [&](const std::function<void()> &body) {
    const StreamedWeights before = model->streamed_weights();
    body();
    return static_cast<double>(model->streamed_weights().copied_bytes - before.copied_bytes) /
           (static_cast<double>(before.pass_bytes) / static_cast<double>(config.layers));
  };
  const auto step = [&] {
    double loss = 0;
    std::vector<float> gradient(inputs.gates.size());
    model->distill(inputs.passage(), inputs.gates.data(), {3, inputs.windows.data()}, DUO_DISTILL_DEFAULT, task, &loss,
                   gradient.data());
  };
  expect(count(step) == 8, "a first step copies all layers for its forward passes, and all but the last two back");
  expect(count(step) == 6, "a further step begins with the first two layers");
  const auto score = [&] {
    Results results;
    run_scores(*model, inputs, results);
  };
  score();
  expect(count(score) == 5, "a pass copies each layer once, the first of the next one ahead");
}

// Layers 0 and 2 of one memory.
void test_shared_layers() {
  Task task;
  const ModelConfig config = make_config(3, false);
  const Inputs inputs(config);
  const auto weights = make_random_weights(config, 3, Dtype::bf16, task, 2);
  expect(
      weights->get("model.layers.2.mlp.up_proj.weight").data == weights->get("model.layers.0.mlp.up_proj.weight").data,
      "layers share the memory of random weights");
  const auto resident = open_cuda_model(config, weights, make_options(Dtype::bf16, DUO_WEIGHTS_DEVICE), task),
             streamed = open_cuda_model(config, weights, make_options(Dtype::bf16, DUO_WEIGHTS_HOST), task);
  const StreamedWeights bytes = streamed->streamed_weights();
  expect(2 * bytes.pass_bytes == 3 * bytes.pinned_bytes, "layers that share their tensors share pinned memory");
  expect(streamed->weight_bytes() == resident->weight_bytes(), "shared layers count as layers");
  Results got, expected;
  run_distill(*streamed, inputs, got), run_distill(*resident, inputs, expected);
  expect_same(got, expected, "shared layers");
}

// What does not fit beside the pass to come goes to the host; what of the device is left is what a pass may count on.
void test_choice() {
  Task task;
  const ModelConfig config = make_config(3, false);
  const auto weights = make_random_weights(config, 3, Dtype::bf16, task);
  const auto streams = [&](int64_t beside, int32_t pass, int64_t tokens) {
    OpenOptions options = make_options(Dtype::bf16, DUO_WEIGHTS_AUTO);
    options.beside_bytes = beside, options.next_pass = pass, options.pass_tokens = tokens;
    return open_cuda_model(config, weights, options, task)->streamed_weights().pass_bytes > 0;
  };
  size_t free_bytes = 0, total_bytes = 0;
  cudaMemGetInfo(&free_bytes, &total_bytes);
  const auto room = static_cast<int64_t>(free_bytes);
  expect(!streams(0, DUO_PASS_NONE, 0), "weights that fit stay on the device");
  expect(streams(room, DUO_PASS_NONE, 0), "weights that do not fit beside a cache go to the host");
  const int64_t tokens = 3 * room / (config.layers * config.hidden * 4 * 4);
  expect(!streams(0, DUO_PASS_MEASURE, TOKENS), "weights that fit beside a short measurement stay");
  expect(streams(0, DUO_PASS_MEASURE, 2 * tokens), "weights that do not fit beside a long measurement go to the host");
  expect(streams(0, DUO_PASS_DISTILL, 8 * tokens), "weights that do not fit beside a long step go to the host");
}

void test_refusals() {
#ifdef DUO_EMULATION
  Task task;
  const ModelConfig config = make_config(3, false);
  const auto weights = make_random_weights(config, 3, Dtype::bf16, task);
  emulation::limit_pinned_memory((size_t{32} << 20) + 100000);  // two buffers of uploads, and one layer
  std::string found;
  try {
    open_cuda_model(config, weights, make_options(Dtype::bf16, DUO_WEIGHTS_HOST), task);
  } catch (const Error &error) {
    found = error.status() == DUO_STATUS_MEMORY ? error.what() : "";
  }
  emulation::limit_pinned_memory(SIZE_MAX);
  expect(found.find("pinned host memory for weights that are streamed") != std::string::npos,
         "pinned memory that there is not is asked for in vain: " + found);
#endif
}

}  // namespace

int main() {
  Task task;
  const ModelConfig plain = make_config(4, false, 2), other = make_config(3, true), single = make_config(1, false),
                    small = make_config(3, false);
  const auto random = [&](const ModelConfig &config, Dtype dtype) {
    return make_random_weights(config, 3, dtype, task);
  };
  test_case("bf16: ", plain, random(plain, Dtype::bf16), Dtype::bf16, true);
  test_case("stored as f32, biases, norms, tied: ", other, random(other, Dtype::f32), Dtype::bf16);
  test_case("int8: ", small, random(small, Dtype::bf16), Dtype::int8);
  test_case("int4: ", small, random(small, Dtype::bf16), Dtype::int4);
  test_case("blocks: ", small, std::make_shared<BlockWeights>(small, *random(small, Dtype::bf16)), Dtype::stored);
  test_case("one layer: ", single, random(single, Dtype::bf16), Dtype::bf16);
  test_copies();
  test_shared_layers();
  test_choice();
  test_refusals();
  return finish("test_cuda_streaming");
}
