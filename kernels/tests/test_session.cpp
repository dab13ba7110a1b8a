// Sessions against a plain fp64 transformer that applies the mask key by key, and the laws of prefill, decode, fork and
// caches.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "check.h"
#include "core/backend.h"
#include "core/rope.h"
#include "core/weight_map.h"
#include "cpu/sampling.h"
#include "reference_transformer.h"
#include "sampling_vectors.h"

using namespace duo;

namespace {

struct Case {
  std::string name;
  int64_t layers, heads, kv_heads, head_dim, hidden, intermediate, vocab;
  int64_t tokens;
  Window window;
  Dtype weights;
  bool qk_norm, bias, tied;
  int64_t ladder = 1;  // streaming heads have windows of R, R·ladder or R·ladder²
};

ModelConfig make_config(const Case &shape) {
  ModelConfig config{};
  config.layers = shape.layers;
  config.heads = shape.heads;
  config.kv_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.hidden = shape.hidden;
  config.intermediate = shape.intermediate;
  config.vocab = shape.vocab;
  config.max_positions = 4096;
  config.rms_norm_eps = 1e-5f;
  config.tied_embeddings = shape.tied;
  config.qkv_bias = shape.bias;
  config.qk_norm = shape.qk_norm;
  config.rope_type = DUO_ROPE_NONE;
  config.rope_theta = 10000.0;
  return config;
}

uint64_t state = 1;
int64_t draw(int64_t bound) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<int64_t>(state >> 33) % bound;
}

std::vector<float> read_logits(DuoSession &session, int64_t vocab) {
  Guarded out(vocab);
  session.logits(out.data());
  expect(out.is_intact(), "logits write inside their buffer");
  return std::vector<float>(out.data(), out.data() + vocab);
}

struct Fixture {
  ModelConfig config;
  std::shared_ptr<const WeightMap> weights;
  std::shared_ptr<DuoModel> model;
  std::vector<int32_t> tokens;
  std::vector<int64_t> windows;
};

Fixture make_fixture(const Case &shape, const std::string &variant, int32_t threads) {
  Task task;
  Fixture made;
  made.config = make_config(shape);
  made.weights = make_random_weights(made.config, 7, shape.weights, task);
  made.model =
      open_cpu_model(made.config, made.weights, {0, variant, threads, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
  state = 1 + static_cast<uint64_t>(shape.tokens);
  for (int64_t t = 0; t < shape.tokens; t++) made.tokens.push_back(static_cast<int32_t>(draw(shape.vocab)));
  for (int64_t i = 0; i < made.config.num_gates(); i++) {
    int64_t window = draw(2) ? 0 : shape.window.recent;
    for (int64_t rung = shape.ladder == 1 ? 0 : draw(3); rung > 0; rung--) window *= shape.ladder;
    made.windows.push_back(window);
  }
  return made;
}

// How a session keeps keys and values.
struct Storage {
  Dtype dtype;
  bool is_rotated = false;
  std::string name() const { return "kv " + std::to_string(static_cast<int>(dtype)) + (is_rotated ? " rotated" : ""); }
};
const Storage F32 = {Dtype::f32};
const std::vector<Storage> STORAGES = {F32,           {Dtype::bf16},       {Dtype::int8},      {Dtype::fp8},
                                       {Dtype::int4}, {Dtype::int8, true}, {Dtype::fp8, true}, {Dtype::int4, true},
                                       {Dtype::k8v4}, {Dtype::k8v4, true}};

std::unique_ptr<DuoSession> open(const Fixture &fixture, std::vector<int64_t> windows, int64_t sink, int64_t max_tokens,
                                 Storage kv, int64_t chunk, bool chunked = false) {
  Task task;
  return fixture.model->open_session(
      fixture.model, {std::move(windows), sink, max_tokens, kv.dtype, chunked, chunk, kv.is_rotated}, task);
}

void feed(DuoSession &session, const std::vector<int32_t> &tokens, int64_t begin, int64_t end) {
  Task task;
  session.prefill(tokens.data() + begin, end - begin, task);
  expect(task.done() == end - begin, "progress ends at the number of tokens");
}

// fp32 within 1e-5 of fp64. The reference rounds keys and values as the cache does, so the others differ only where
// fp32 tips a value to its neighbour: a few of thousands, each by a step of 2^-8, 1/127, 2^-4 or 1/15.
double tolerance(Storage kv) {
  return kv.dtype == Dtype::f32                               ? 1e-5
         : kv.dtype == Dtype::fp8                             ? 1e-2
         : kv.dtype == Dtype::int4 || kv.dtype == Dtype::k8v4 ? 5e-2
                                                              : 1e-3;
}

void test_case(const Case &shape, const std::string &variant) {
  const Fixture fixture = make_fixture(shape, variant, 2);
  const ModelConfig &config = fixture.config;
  const int64_t T = shape.tokens, V = config.vocab;
  const auto is_visible = [&](int64_t layer, int64_t head, int64_t i, int64_t j) {
    const int64_t window = fixture.windows[layer * config.kv_heads + head];
    return window == 0 || j < shape.window.sink || i - j < window;
  };
  const std::string label = shape.name + " " + variant + ": ";
  for (const Storage &kv : STORAGES) {
    const Matrix expected =
        reference_logits(config, *fixture.weights, fixture.tokens, kv.dtype, is_visible, kv.is_rotated);
    double worst = 0;
    std::vector<float> first;
    for (const int64_t chunk : {int64_t{1}, int64_t{7}, int64_t{64}, T}) {
      auto session = open(fixture, fixture.windows, shape.window.sink, T + 3, kv, chunk);
      feed(*session, fixture.tokens, 0, T);
      const std::vector<float> got = read_logits(*session, V);
      worst = worse(worst, measure_agreement(got.data(), expected.data() + (T - 1) * V, V));
      if (first.empty()) first = got;
      const double chunking = measure_agreement(got.data(), first.data(), V);
      expect(chunking < (kv.dtype == Dtype::f32 ? 1e-5 : tolerance(kv)),
             label + "chunk " + std::to_string(chunk) + " agrees, got " + std::to_string(chunking));
    }
    expect(worst < tolerance(kv), label + "logits against fp64, " + kv.name() + ", got " + std::to_string(worst));
    std::printf("%s %s: %.1e of %.0e\n", label.c_str(), kv.name().c_str(), worst, tolerance(kv));
  }
  // Decode from any point gives every position's logits.
  const Matrix expected = reference_logits(config, *fixture.weights, fixture.tokens, Dtype::f32, is_visible);
  const int64_t start = std::max<int64_t>(1, T / 3);
  auto session = open(fixture, fixture.windows, shape.window.sink, T, F32, 5);
  feed(*session, fixture.tokens, 0, start);
  Task task;
  double worst = 0;
  for (int64_t t = start; t < T; t++) {
    session->decode(fixture.tokens[t], task);
    const std::vector<float> got = read_logits(*session, V);
    worst = worse(worst, measure_agreement(got.data(), expected.data() + t * V, V));
  }
  expect(worst < 1e-5, label + "decode at every position, got " + std::to_string(worst));
}

void test_laws(const Case &shape, const std::string &variant) {
  const Fixture fixture = make_fixture(shape, variant, 2), single = make_fixture(shape, variant, 1);
  const int64_t T = shape.tokens, V = fixture.config.vocab;
  const std::vector<int64_t> full(fixture.windows.size(), 0);
  const auto streaming = [&](int64_t window) { return std::vector<int64_t>(fixture.windows.size(), window); };
  const std::string label = shape.name + " " + variant + ": ";
  Task task;
  for (const Storage &kv : STORAGES) {
    const auto run = [&](const Fixture &on, const std::vector<int64_t> &windows, int64_t sink, bool chunked) {
      auto session = open(on, windows, sink, T + 1, kv, 16, chunked);
      feed(*session, on.tokens, 0, T);
      return read_logits(*session, V);
    };
    const std::vector<float> everything = run(fixture, full, 0, false);
    expect(run(fixture, streaming(T), 2, false) == everything, label + "S + R >= T equals full, bit for bit");
    // A last chunk of one token takes another path than decode: the same within rounding.
    const std::vector<float> whole_chunks = run(fixture, streaming(1), T, true);
    expect(measure_agreement(whole_chunks.data(), everything.data(), V) < 1e-5,
           label + "the same, chunked, within rounding");
    expect(run(fixture, full, shape.window.sink, false) == everything, label + "a mask of retrieval heads equals full");
    expect(run(single, fixture.windows, shape.window.sink, false) ==
               run(fixture, fixture.windows, shape.window.sink, false),
           label + "1 and 2 threads give the same bits");
    const std::vector<float> chunked = run(fixture, fixture.windows, shape.window.sink, true);
    expect(std::all_of(chunked.begin(), chunked.end(), [](float x) { return std::isfinite(x); }),
           label + "chunked prefill is finite");

    // Fork: the same state, then independent.
    auto parent = open(fixture, fixture.windows, shape.window.sink, T + 1, kv, 16);
    feed(*parent, fixture.tokens, 0, T - 1);
    auto child = parent->fork(task);
    expect(child->length() == T - 1 && read_logits(*child, V) == read_logits(*parent, V),
           label + "a fork has its parent's logits");
    child->decode(fixture.tokens[0], task);
    child.reset();
    child = parent->fork(task);
    parent->decode(fixture.tokens[T - 1], task);
    child->decode(fixture.tokens[T - 1], task);
    expect(read_logits(*child, V) == read_logits(*parent, V), label + "a fork decodes as its parent");

    // A batch equals its members one by one.
    auto one = open(fixture, fixture.windows, shape.window.sink, T + 1, kv, 16),
         two = open(fixture, full, 0, T + 9, kv, 16);
    feed(*one, fixture.tokens, 0, T - 1);
    feed(*two, fixture.tokens, 0, T / 2 + 1);
    auto one_alone = one->fork(task), two_alone = two->fork(task);
    DuoSession *batch[] = {one.get(), two.get()};
    const int32_t next[] = {fixture.tokens[T - 1], fixture.tokens[0]};
    one->decode_batch(batch, next, 2, task);
    one_alone->decode(next[0], task);
    two_alone->decode(next[1], task);
    expect(measure_agreement(read_logits(*one, V).data(), read_logits(*one_alone, V).data(), V) < 1e-5,
           label + "batch member 0");
    expect(measure_agreement(read_logits(*two, V).data(), read_logits(*two_alone, V).data(), V) < 1e-5,
           label + "batch member 1");

    // Memory: the formula, counted here anew.
    const int64_t half_bytes = kv.dtype == Dtype::f32    ? 16
                               : kv.dtype == Dtype::bf16 ? 8
                               : kv.dtype == Dtype::k8v4 ? 3
                               : kv.dtype == Dtype::int4 ? 2
                                                         : 4;
    const int64_t token_bytes = fixture.config.head_dim * half_bytes / 2 + (half_bytes > 4 ? 0 : 8);
    const int64_t num_gates = fixture.config.num_gates();
    int64_t slots = 0;
    for (const int64_t window : fixture.windows)
      slots += window == 0 ? T + 1 : std::min(T + 1, shape.window.sink + window);
    const SessionMemory memory = one->memory();
    expect(memory.kv_bytes == token_bytes * slots, label + "kv bytes");
    expect(memory.full_kv_bytes == token_bytes * num_gates * (T + 1), label + "full kv bytes");
    expect(memory.workspace_bytes > 0, label + "workspace bytes");
  }
  // An aborted prefill leaves the finished chunks, and the text goes on as if nothing had happened.
  auto session = open(fixture, fixture.windows, shape.window.sink, T + 1, F32, 16),
       calm = open(fixture, fixture.windows, shape.window.sink, T + 1, F32, 16);
  feed(*session, fixture.tokens, 0, T / 2 + 1);
  Task stopped;
  stopped.abort();
  bool was_aborted = false;
  try {
    session->prefill(fixture.tokens.data() + session->length(), T - session->length(), stopped);
  } catch (const Error &error) {
    was_aborted = error.status() == DUO_STATUS_ABORTED;
  }
  expect(was_aborted || T / 2 + 1 == T, label + "abort is seen");
  if (session->length() < T) feed(*session, fixture.tokens, session->length(), T);
  feed(*calm, fixture.tokens, 0, T / 2 + 1);
  if (calm->length() < T) feed(*calm, fixture.tokens, calm->length(), T);
  expect(read_logits(*session, V) == read_logits(*calm, V), label + "an abort leaves no trace");
  session->fill(T, 3, task);
  expect(session->length() == T, label + "fill sets the length");
  session->decode(fixture.tokens[0], task);
  read_logits(*session, V);
}

// More slots than one item of decode attention takes: ranges are cut and merged.
void test_long_context(const std::string &variant) {
  const Case shape = {"long", 1, 8, 2, 24, 48, 40, 64, 2600, {100, 1500}, Dtype::f32, false, false, false};
  const Fixture fixture = make_fixture(shape, variant, 2), single = make_fixture(shape, variant, 1);
  const std::vector<int64_t> windows = {0, shape.window.recent};
  const int64_t T = shape.tokens, V = fixture.config.vocab;
  Task task;
  for (const Storage &kv : STORAGES) {
    const auto decode_last = [&](const Fixture &on) {
      auto session = open(on, windows, shape.window.sink, T, kv, 0);
      feed(*session, on.tokens, 0, T - 1);
      session->decode(on.tokens[T - 1], task);
      return read_logits(*session, V);
    };
    auto prefilled = open(fixture, windows, shape.window.sink, T, kv, 0);
    feed(*prefilled, fixture.tokens, 0, T);
    const std::vector<float> decoded = decode_last(fixture);
    const double error = measure_agreement(decoded.data(), read_logits(*prefilled, V).data(), V);
    expect(error < (kv.dtype == Dtype::f32 ? 1e-5 : tolerance(kv)),
           "long context " + variant + ", got " + std::to_string(error));
    expect(decode_last(single) == decoded, "long context " + variant + ": 1 and 2 threads give the same bits");
  }
}

void test_sampling() {
  const SamplingVectors vectors = read_sampling_vectors();
  for (const SamplingVector &draw : vectors.draws) {
    expect(sample_token(vectors.logits.data(), static_cast<int64_t>(vectors.logits.size()), draw.sampling,
                        draw.length) == draw.token,
           "the draw of seed " + std::to_string(draw.sampling.seed));
  }
  const std::vector<float> logits = {1.0f, 3.0f, 3.0f, -2.0f, 0.5f};
  expect(sample_token(logits.data(), 5, {0.0f, 0, 1.0f, 1}, 4) == 1, "greedy takes the lowest id of a tie");
  expect(sample_token(logits.data(), 5, {1.0f, 1, 1.0f, 1}, 4) == 1, "top_k 1 is greedy");
  expect(sample_token(logits.data(), 5, {1.0f, 0, 1e-6f, 1}, 4) == 1, "a tiny top_p is greedy");
  int counts[5] = {}, cut[5] = {};
  for (uint64_t seed = 0; seed < 4000; seed++) {
    counts[sample_token(logits.data(), 5, {1.0f, 0, 1.0f, seed}, 9)]++;
    cut[sample_token(logits.data(), 5, {1.0f, 3, 0.999f, seed}, 9)]++;
  }
  double total = 0;
  for (const float x : logits) total += std::exp(static_cast<double>(x));
  for (int i = 0; i < 5; i++) {
    const double share = std::exp(static_cast<double>(logits[i])) / total;
    // Five standard deviations of a count out of 4000.
    expect(std::fabs(counts[i] - 4000 * share) <= 5 * std::sqrt(4000 * share * (1 - share)) + 1,
           "draws follow the softmax, id " + std::to_string(i));
  }
  expect(cut[0] > 0 && cut[3] == 0 && cut[4] == 0, "top_k keeps the three highest");
  expect(draw_uniform(1, 2) != draw_uniform(1, 3) && draw_uniform(1, 2) == draw_uniform(1, 2),
         "a draw is a function of seed and length");
}

}  // namespace

int main() {
  const Case cases[] = {
      {"gqa", 2, 6, 3, 20, 48, 70, 53, 97, {4, 11}, Dtype::bf16, false, false, false},
      {"mha", 2, 4, 4, 32, 64, 96, 64, 150, {0, 33}, Dtype::f32, false, true, true},
      {"one kv head", 1, 9, 1, 16, 40, 33, 31, 70, {16, 1}, Dtype::f32, true, false, false},
      {"wide head", 1, 7, 1, 128, 64, 64, 40, 90, {17, 20}, Dtype::bf16, false, false, false},
      {"tiny head", 1, 3, 3, 2, 10, 6, 5, 20, {1, 2}, Dtype::f32, false, false, false},
      {"two tokens", 1, 2, 1, 8, 16, 24, 11, 2, {0, 1}, Dtype::f32, false, false, false},
      {"windows by head", 2, 12, 6, 20, 48, 70, 53, 97, {3, 5}, Dtype::bf16, false, false, false, 4},
      {"windows by head, no sink", 2, 4, 4, 32, 64, 96, 64, 150, {0, 7}, Dtype::f32, false, true, true, 3},
  };
  std::vector<std::string> variants = {"plain"};
  for (const std::string variant : {"avx2", "avx512", "neon"}) {
    try {
      make_fixture(cases[5], variant, 1);
      variants.push_back(variant);
    } catch (const Error &error) {
      std::printf("skipped %s: %s\n", variant.c_str(), error.what());
    }
  }
  // Under a sanitizer every access counts and the arithmetic does not: one instruction set and few random shapes reach
  // every path.
  const bool is_short = std::getenv("DUO_TEST_SHORT") != nullptr;
  if (is_short) variants = {variants.back()};
  const uint64_t num_random = is_short ? 6 : 24;
  for (const std::string &variant : variants) {
    for (const Case &shape : cases) {
      test_case(shape, variant);
      test_laws(shape, variant);
    }
  }
  for (const std::string &variant : variants) test_long_context(variant);
  // Random shapes, each with its own seed in its name.
  for (uint64_t seed = 1; seed <= num_random; seed++) {
    state = seed * 977;
    const int64_t kv_heads = 1 + draw(3), head_dim = 2 * (1 + draw(24)), window_recent = 1 + draw(20);
    const Case shape = {"random " + std::to_string(seed),
                        1 + draw(2),
                        kv_heads * (1 + draw(5)),
                        kv_heads,
                        head_dim,
                        4 + draw(50),
                        1 + draw(60),
                        2 + draw(90),
                        1 + draw(100),
                        {draw(14), window_recent},
                        draw(2) ? Dtype::f32 : Dtype::bf16,
                        draw(2) == 1,
                        draw(2) == 1,
                        draw(2) == 1,
                        1 + draw(3)};
    test_case(shape, variants[seed % variants.size()]);
  }
  // One token alone.
  Case alone = cases[0];
  alone.tokens = 1;
  test_case(alone, "");
  test_sampling();
  return finish("test_session");
}
