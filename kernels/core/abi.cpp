// Argument checks, handle tables and the functions of duo.h that take no handle other than a task's.
#include "core/abi.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>

namespace duo {
namespace {

// Fixed storage: recording an error must not fail where there is no memory.
thread_local char last_error[1024] = "";

// Past every text's end (num_tokens is at most 2^30), and far from overflow in sums.
constexpr int64_t MAX_WINDOW = int64_t{1} << 40;

}  // namespace

HandleTable<duo_task_t, Task> &task_table() {
  static auto *table =
      new HandleTable<duo_task_t, Task>;  // never destroyed: worker threads may outlive static destruction
  return *table;
}
HandleTable<duo_model_t, DuoModel> &model_table() {
  static auto *table = new HandleTable<duo_model_t, DuoModel>;
  return *table;
}
HandleTable<duo_session_t, SessionEntry> &session_table() {
  static auto *table = new HandleTable<duo_session_t, SessionEntry>;
  return *table;
}

void set_last_error(const char *text) noexcept {
  std::strncpy(last_error, text, sizeof last_error - 1);
  last_error[sizeof last_error - 1] = 0;
}

int64_t require_range(const char *name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    fail(DUO_STATUS_ARGUMENT, "Expected `%s` to be an integer of %" PRId64 " to %" PRId64 ", got `%" PRId64 "`", name,
         low, high, value);
  }
  return value;
}

void require_tokens(const char *name, const int32_t *tokens, int64_t num_tokens, int64_t vocab) {
  require(tokens, name);
  for (int64_t i = 0; i < num_tokens; i++) {
    if (tokens[i] < 0 || tokens[i] >= vocab) {
      fail(DUO_STATUS_ARGUMENT, "Expected `%s[%" PRId64 "]` to be a token id of 0 to %" PRId64 ", got `%d`", name, i,
           vocab - 1, tokens[i]);
    }
  }
}

Passage require_passage(const ModelConfig &config, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                        int64_t num_positions) {
  require_range("num_tokens", num_tokens, 1, int64_t{1} << 30);
  require_tokens("tokens", tokens, num_tokens, config.vocab);
  require_range("num_positions", num_positions, 1, num_tokens);
  require(positions, "positions");
  for (int64_t i = 0; i < num_positions; i++) {
    const int64_t low = i == 0 ? 0 : int64_t{positions[i - 1]} + 1;
    if (positions[i] < low || positions[i] >= num_tokens) {
      fail(DUO_STATUS_ARGUMENT,
           "Expected `positions[%" PRId64 "]` to be %" PRId64 " to %" PRId64 " (strictly ascending), got `%d`", i, low,
           num_tokens - 1, positions[i]);
    }
  }
  return {tokens, num_tokens, positions, num_positions};
}

void require_gates(const char *name, const float *gates, int64_t num_gates) {
  require(gates, name);
  for (int64_t i = 0; i < num_gates; i++) {
    if (!(gates[i] >= 0.0f && gates[i] <= 1.0f)) {
      fail(DUO_STATUS_ARGUMENT, "Expected `%s[%" PRId64 "]` to be 0 to 1, got `%g`", name, i,
           static_cast<double>(gates[i]));
    }
  }
}

Window require_window(int64_t sink_tokens, int64_t recent_tokens) {
  return {require_range("sink_tokens", sink_tokens, 0, MAX_WINDOW),
          require_range("recent_tokens", recent_tokens, 1, MAX_WINDOW)};
}

void require_windows(const int64_t *windows, int64_t num_gates, int64_t sink_tokens) {
  require_range("sink_tokens", sink_tokens, 0, MAX_WINDOW);
  require(windows, "windows");
  for (int64_t i = 0; i < num_gates; i++) {
    if (windows[i] < 0 || windows[i] > MAX_WINDOW) {
      fail(DUO_STATUS_ARGUMENT,
           "Expected `windows[%" PRId64 "]` to be an integer of 0 (the whole context) to %" PRId64 ", got `%" PRId64
           "`",
           i, MAX_WINDOW, windows[i]);
    }
  }
}

BranchWindows::BranchWindows(const float *gates, const int64_t *windows, int64_t num_gates, int64_t sink_tokens) {
  if (gates != nullptr) *this = BranchWindows(windows, num_gates, sink_tokens);
}

BranchWindows::BranchWindows(const int64_t *windows, int64_t num_gates, int64_t sink_tokens) {
  require_windows(windows, num_gates, sink_tokens);
  sink = sink_tokens;
  recent.assign(windows, windows + num_gates);
  std::replace(recent.begin(), recent.end(), int64_t{0}, MAX_WINDOW);
}

void require_finite(const char *name, const float *values, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    if (!std::isfinite(values[i]))
      fail(DUO_STATUS_NUMERIC, "Expected `%s[%" PRId64 "]` to come out finite, got `%g`", name, i,
           static_cast<double>(values[i]));
  }
}

void copy_text(const std::string &from, char *text, int64_t text_bytes) {
  require(text, "text");
  require_range("text_bytes", text_bytes, 1, int64_t{1} << 30);
  std::strncpy(text, from.c_str(), static_cast<size_t>(text_bytes - 1));
  text[text_bytes - 1] = 0;
}

OpenOptions parse_device(const char *device, int32_t num_threads, int32_t weight_dtype, int32_t compute,
                         bool *is_cuda) {
  const std::string name = require(device, "device");
  OpenOptions options{0, "", num_threads, static_cast<Dtype>(weight_dtype), compute};
  require_range("num_threads", num_threads, 0, 256);
  require_range("weight_dtype", weight_dtype, DUO_DTYPE_STORED, DUO_DTYPE_INT4);
  require_range("compute", compute, DUO_COMPUTE_ACCURATE, DUO_COMPUTE_INT8);
  *is_cuda = false;
  if (name == "cpu") return options;
  for (const char *variant : {"plain", "avx2", "avx512"}) {
    if (name == std::string("cpu:") + variant) {
      options.variant = variant;
      return options;
    }
  }
  if (name.compare(0, 5, "cuda:") == 0 && name.size() > 5 && name.size() < 9 &&
      name.find_first_not_of("0123456789", 5) == std::string::npos) {
    *is_cuda = true;
    options.device_index = std::stoi(name.substr(5));
    return options;
  }
  fail(DUO_STATUS_ARGUMENT, "Expected `device` to be \"cpu\" or \"cuda:<number>\", got `%.100s`", name.c_str());
}

void parse_placement(int32_t weights_on, int32_t next_pass, int64_t pass_tokens, int64_t beside_bytes, bool is_cuda,
                     OpenOptions *options) {
  require_range("weights_on", weights_on, DUO_WEIGHTS_AUTO, DUO_WEIGHTS_HOST);
  require_range("next_pass", next_pass, DUO_PASS_NONE, DUO_PASS_MEASURE);
  require_range("pass_tokens", pass_tokens, 0, int64_t{1} << 30);
  require_range("beside_bytes", beside_bytes, 0, int64_t{1} << 50);
  if (!is_cuda && weights_on != DUO_WEIGHTS_AUTO) {
    fail(DUO_STATUS_UNSUPPORTED,
         "Expected a CUDA device for `weights_on` code `%d`, got a CPU, which computes from them", weights_on);
  }
  options->weights_on = weights_on;
  options->next_pass = next_pass, options->pass_tokens = pass_tokens, options->beside_bytes = beside_bytes;
}

}  // namespace duo

using namespace duo;

int32_t duo_abi_version(void) { return DUO_ABI_VERSION; }

const char *duo_last_error(void) { return last_error; }

int32_t duo_task_open(duo_task_t **task) {
  return guard([&] { *require(task, "task") = task_table().insert(std::make_shared<Task>()); });
}

int32_t duo_task_abort(duo_task_t *task) {
  return guard([&] { task_table().find(task, "task")->abort(); });
}

int32_t duo_task_reset(duo_task_t *task) {
  return guard([&] { task_table().find(task, "task")->reset(); });
}

int32_t duo_task_progress(duo_task_t *task, int64_t *done, int64_t *total) {
  return guard([&] {
    const auto found = task_table().find(task, "task");
    *require(done, "done") = found->done();
    *require(total, "total") = found->total();
  });
}

int32_t duo_task_error(duo_task_t *task, char *text, int64_t text_bytes) {
  return guard([&] { copy_text(task_table().find(task, "task")->error(), text, text_bytes); });
}

int32_t duo_task_close(duo_task_t *task) {
  return guard([&] { task_table().remove(task, "task"); });
}
