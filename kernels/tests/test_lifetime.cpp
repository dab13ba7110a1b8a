// The ABI under misuse and concurrency: null and closed handles, bad arguments, abort, errors of threads, calls at once
// on one model.
#include <atomic>
#include <chrono>
#include <thread>

#include "check.h"
#include "duo.h"

using namespace duo;

namespace {

duo_model_config_t make_config() {
  duo_model_config_t config{};
  config.struct_bytes = sizeof config;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 10000;
  config.max_positions = 8192;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.hidden = 40;
  config.intermediate = 72;
  config.vocab = 50;
  return config;
}

duo_model_t *open_model(const duo_model_config_t &config, int threads) {
  duo_model_t *model = nullptr;
  const int32_t status = duo_model_open_random(&config, 5, "cpu", threads, DUO_DTYPE_BF16, DUO_COMPUTE_ACCURATE, 0, 0,
                                               0, 0, 0, nullptr, &model);
  expect(status == DUO_STATUS_OK, std::string("open: ") + duo_last_error());
  return model;
}

std::vector<int32_t> make_tokens(int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; i++) tokens.push_back(static_cast<int32_t>(i * 13 % 50));
  return tokens;
}

void expect_status(int32_t status, int32_t wanted, const std::string &words) {
  expect(status == wanted && std::string(duo_last_error()).find(words) != std::string::npos,
         "status " + std::to_string(status) + " instead of " + std::to_string(wanted) + ": " + duo_last_error());
}

void test_arguments() {
  duo_model_config_t config = make_config();
  duo_model_t *model = nullptr;
  const auto open = [&] {
    return duo_model_open_random(&config, 1, "cpu", 1, DUO_DTYPE_F32, 0, 0, 0, 0, 0, 0, nullptr, &model);
  };
  expect_status(duo_model_open_random(nullptr, 1, "cpu", 1, 0, 0, 0, 0, 0, 0, 0, nullptr, &model), DUO_STATUS_NULL,
                "`config`");
  expect_status(duo_model_open_random(&config, 1, "tpu", 1, 0, 0, 0, 0, 0, 0, 0, nullptr, &model), DUO_STATUS_ARGUMENT,
                "got `tpu`");
  expect_status(duo_model_open_random(&config, 1, "cpu", 1, DUO_DTYPE_INT8, 0, 0, 0, 0, 0, 0, nullptr, &model),
                DUO_STATUS_UNSUPPORTED, "F32 or BF16");
  config.layers = 0;
  expect_status(open(), DUO_STATUS_ARGUMENT, "`layers`");
  config = make_config();
  config.heads = 5;
  expect_status(open(), DUO_STATUS_SHAPE, "multiple");
  config = make_config();
  config.struct_bytes = 4;
  expect_status(open(), DUO_STATUS_ARGUMENT, "struct_bytes");
  config = make_config();
  const char *paths[] = {"/nonexistent/model.safetensors"};
  expect_status(duo_model_open(&config, paths, 1, "cpu", 1, DUO_DTYPE_STORED, 0, 0, 0, 0, 0, nullptr, &model),
                DUO_STATUS_FILE, "/nonexistent");

  model = open_model(config, 2);
  const auto tokens = make_tokens(20);
  const int32_t positions[] = {3, 7, 19};
  float gates[] = {0.5f, 0.5f, 0.5f, 0.5f}, gradient[4];
  double loss;
  int64_t windows[] = {4, 1, 0, 9};
  const auto distill = [&](const int32_t *at, const float *gate) {
    return duo_distill(model, tokens.data(), 20, at, 3, gate, windows, 2, 0, nullptr, &loss, gradient);
  };
  expect(distill(positions, gates) == DUO_STATUS_OK && std::string(duo_last_error()).empty(), "a good call");
  expect_status(distill(nullptr, gates), DUO_STATUS_NULL, "`positions`");
  expect_status(distill(positions, nullptr), DUO_STATUS_NULL, "`gates`");
  const int32_t unsorted[] = {7, 7, 8}, outside[] = {3, 7, 20};
  expect_status(distill(unsorted, gates), DUO_STATUS_ARGUMENT, "positions[1]");
  expect_status(distill(outside, gates), DUO_STATUS_ARGUMENT, "positions[2]");
  gates[2] = NAN;
  expect_status(distill(positions, gates), DUO_STATUS_ARGUMENT, "gates[2]");
  gates[2] = 0.5f;
  const int32_t foreign[] = {50};
  float logits[50];
  expect_status(duo_logits(model, foreign, 1, positions, 1, nullptr, nullptr, 0, nullptr, logits), DUO_STATUS_ARGUMENT,
                "tokens[0]");
  const auto distill_from = [&](const int64_t *of, int64_t sink) {
    return duo_distill(model, tokens.data(), 20, positions, 3, gates, of, sink, 0, nullptr, &loss, gradient);
  };
  expect_status(distill_from(nullptr, 2), DUO_STATUS_NULL, "`windows`");
  expect_status(distill_from(windows, -1), DUO_STATUS_ARGUMENT, "`sink_tokens`");
  windows[2] = -1;
  expect_status(distill_from(windows, 2), DUO_STATUS_ARGUMENT, "`windows[2]`");
  windows[2] = (int64_t{1} << 40) + 1;
  expect_status(distill_from(windows, 2), DUO_STATUS_ARGUMENT, "`windows[2]`");
  windows[2] = 0;
  expect(duo_model_close(model) == DUO_STATUS_OK, "close");
  expect_status(duo_model_close(model), DUO_STATUS_HANDLE, "closed");
  expect_status(distill(positions, gates), DUO_STATUS_HANDLE, "closed");
  expect_status(duo_model_close(nullptr), DUO_STATUS_NULL, "`model`");
}

// Threads share a model; each sees its own results and its own errors.
void test_concurrency() {
  duo_model_t *model = open_model(make_config(), 2);
  const auto tokens = make_tokens(60);
  const int32_t positions[] = {30, 59};
  std::vector<std::vector<float>> results(4, std::vector<float>(80));
  std::vector<std::thread> threads;
  std::atomic<int> num_wrong{0};
  for (size_t i = 0; i < results.size(); i++) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 5; round++) {
        const bool is_bad = (static_cast<int>(i) + round) % 2 == 1;
        const int32_t status = duo_hidden(model, tokens.data(), is_bad ? 0 : 60, positions, 2, nullptr, nullptr, 0,
                                          nullptr, results[i].data());
        const bool has_text = std::string(duo_last_error()).find("num_tokens") != std::string::npos;
        if (status != (is_bad ? DUO_STATUS_ARGUMENT : DUO_STATUS_OK) || has_text != is_bad) num_wrong++;
      }
    });
  }
  for (auto &thread : threads) thread.join();
  expect(num_wrong == 0, "statuses of threads");
  for (const auto &result : results)
    expect(std::memcmp(result.data(), results[0].data(), 80 * 4) == 0, "results of threads differ");
  duo_model_close(model);
}

void test_abort() {
  duo_model_t *model = open_model(make_config(), 2);
  const auto tokens = make_tokens(8000);
  const int32_t positions[] = {7999};
  std::vector<float> hidden(40);
  duo_task_t *task = nullptr;
  expect(duo_task_open(&task) == DUO_STATUS_OK, "task");
  using Clock = std::chrono::steady_clock;
  Clock::time_point aborted;
  std::thread stopper([&] {
    // Once the call has begun: its first layer alone takes longer than what follows here.
    for (int64_t done = 0, total = 0; total == 0;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      duo_task_progress(task, &done, &total);
    }
    aborted = Clock::now();
    duo_task_abort(task);
  });
  const int32_t status = duo_hidden(model, tokens.data(), 8000, positions, 1, nullptr, nullptr, 0, task, hidden.data());
  [[maybe_unused]] const auto returned = Clock::now();
  stopper.join();
  expect(status == DUO_STATUS_ABORTED, "abort status");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  expect(returned - aborted < std::chrono::milliseconds(100), "abort within 100 ms");
#endif
  char text[200];
  expect(duo_task_error(task, text, sizeof text) == DUO_STATUS_OK && std::strlen(text) > 0, "text of an aborted task");
  expect(duo_hidden(model, tokens.data(), 10, positions, 1, nullptr, nullptr, 0, task, hidden.data()) != DUO_STATUS_OK,
         "an aborted task stays aborted");
  duo_task_reset(task);
  const int32_t first[] = {9};
  expect(duo_hidden(model, tokens.data(), 10, first, 1, nullptr, nullptr, 0, task, hidden.data()) == DUO_STATUS_OK,
         "a reset task serves again");
  int64_t done = 0, total = 0;
  expect(duo_task_progress(task, &done, &total) == DUO_STATUS_OK && done == 2 && total == 2, "progress");
  duo_task_close(task);
  duo_model_close(model);
}

void test_sessions() {
  duo_model_t *model = open_model(make_config(), 1);
  duo_session_t *session = nullptr;
  int64_t windows[] = {0, 4, 7, 0};
  for (int round = 0; round < 1000; round++) {
    if (duo_session_open(model, windows, 2, 32, DUO_DTYPE_F32, DUO_KV_ROTATION_ON, 0, 0, nullptr, &session) !=
            DUO_STATUS_OK ||
        duo_session_close(session) != DUO_STATUS_OK) {
      expect(false, "open and close");
    }
  }
  expect_status(duo_session_close(session), DUO_STATUS_HANDLE, "closed");
  windows[1] = -4;
  expect_status(duo_session_open(model, windows, 2, 8, DUO_DTYPE_F32, DUO_KV_ROTATION_ON, 0, 0, nullptr, &session),
                DUO_STATUS_ARGUMENT, "`windows[1]`");
  windows[1] = 4;
  expect_status(duo_session_open(model, windows, -1, 8, DUO_DTYPE_F32, DUO_KV_ROTATION_ON, 0, 0, nullptr, &session),
                DUO_STATUS_ARGUMENT, "`sink_tokens`");
  expect(duo_session_open(model, windows, 2, 8, DUO_DTYPE_F32, DUO_KV_ROTATION_ON, 0, 0, nullptr, &session) ==
             DUO_STATUS_OK,
         "open");
  float logits[50];
  expect_status(duo_session_logits(session, logits, 50), DUO_STATUS_ARGUMENT, "");
  expect_status(duo_session_logits(session, logits, 49), DUO_STATUS_SHAPE, "num_logits");
  const auto tokens = make_tokens(9);
  expect_status(duo_session_prefill(session, tokens.data(), 9, nullptr), DUO_STATUS_ARGUMENT, "at most 8 more");
  duo_model_close(model);
  // The session keeps what it needs of its model.
  expect(duo_session_prefill(session, tokens.data(), 8, nullptr) == DUO_STATUS_OK,
         "a session outlives its model's handle");
  duo_session_t *const twice[] = {session, session};
  expect_status(duo_session_decode_batch(twice, tokens.data(), 2, nullptr), DUO_STATUS_ARGUMENT, "twice");
  duo_session_close(session);
}

}  // namespace

int main() {
  test_arguments();
  test_concurrency();
  test_abort();
  test_sessions();
  return finish("test_lifetime");
}
