// The bench of a whole decode step: a model of random weights with as many layers as asked, sessions whose caches are
// filled, and the time of a decode call as a caller sees it. First the same model's decode is held to its own prefill,
// which runs by other kernels.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "check.h"
#include "core/backend.h"
#include "core/weight_map.h"
#include "cuda/runtime.h"

namespace duo::bench {

void bench_decode_step(int device_index, const std::vector<int64_t> &sizes, int32_t num_repeats, double *seconds,
                       double *relative_error) {
  Task task;
  ModelConfig config{};
  config.layers = sizes[0], config.heads = sizes[1], config.kv_heads = sizes[2], config.head_dim = sizes[3];
  config.hidden = sizes[4], config.intermediate = sizes[5], config.vocab = sizes[6];
  const int64_t tokens = sizes[7], retrieval = sizes[8], batch = sizes[12];
  const Window window{sizes[9], sizes[10]};
  const auto kv = static_cast<Dtype>(sizes[11]);
  if (config.layers < 1 || config.kv_heads < 1 || retrieval > config.kv_heads || tokens < 1 || window.recent < 1 ||
      batch < 1 || batch > 64) {
    fail(DUO_STATUS_ARGUMENT,
         "Expected 1 or more layers and tokens, at most G retrieval heads, R of at least 1, a batch of 1 to 64");
  }
  config.max_positions = 1 << 20, config.rms_norm_eps = 1e-5f, config.rope_type = DUO_ROPE_NONE,
  config.rope_theta = 500000.0, config.tied_embeddings = true;
  const auto model = open_cuda_model(config, make_random_weights(config, 1, Dtype::bf16, task),
                                     {device_index, "", 0, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
  std::vector<int64_t> windows;
  for (int64_t i = 0; i < config.num_gates(); i++)
    windows.push_back(i % config.kv_heads < retrieval ? 0 : window.recent);
  const auto open = [&](int64_t max_tokens) {
    return model->open_session(model, {windows, window.sink, max_tokens, kv, false, 0}, task);
  };

  std::vector<int32_t> text;
  for (int64_t i = 0; i < 40; i++) text.push_back(static_cast<int32_t>(i * 7919 % config.vocab));
  std::vector<float> expected(static_cast<size_t>(config.vocab)), got(expected);
  auto session = open(64);
  session->prefill(text.data(), 40, task);
  session->logits(expected.data());
  session = open(64);
  session->prefill(text.data(), 39, task);
  session->decode(text[39], task);
  session->logits(got.data());
  *relative_error = duo::relative_error(got, expected);
  session.reset();

  std::vector<std::unique_ptr<DuoSession>> sessions;
  std::vector<DuoSession *> all;
  const std::vector<int32_t> next(static_cast<size_t>(batch), 1);
  for (int64_t i = 0; i < batch; i++) {
    sessions.push_back(open(tokens + num_repeats + 4));
    sessions.back()->fill(tokens, static_cast<uint64_t>(i), task);
    all.push_back(sessions.back().get());
  }
  for (int32_t i = -3; i < num_repeats; i++) {
    const auto begin = std::chrono::steady_clock::now();
    all.front()->decode_batch(all.data(), next.data(), batch, task);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    if (i >= 0) seconds[i] = elapsed.count();
  }
}

}  // namespace duo::bench
