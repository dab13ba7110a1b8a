// What the ABI functions share: the guard that turns exceptions into statuses, argument checks, and the handle tables.
#pragma once
#include <cmath>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/handles.h"

namespace duo {

struct SessionEntry {
  std::shared_ptr<DuoModel> model;
  std::mutex mutex;  // held over every call on the session
  std::unique_ptr<DuoSession> session;
};

HandleTable<duo_task_t, Task> &task_table();
HandleTable<duo_model_t, DuoModel> &model_table();
HandleTable<duo_session_t, SessionEntry> &session_table();

void set_last_error(const char *text) noexcept;

// Run `body(Task &)`; any exception becomes a status, its text goes to the thread and to the task. Nothing passes this
// line.
template <typename Body>
int32_t guard_task(duo_task_t *handle, Body body) noexcept {
  std::shared_ptr<Task> task;
  int32_t status = DUO_STATUS_INTERNAL;
  const char *text = "";
  std::string kept;
  try {
    try {
      set_last_error("");
      task = handle == nullptr ? std::make_shared<Task>() : task_table().find(handle, "task");
      task->check_abort();
      body(*task);
      return DUO_STATUS_OK;
    } catch (const Error &error) {
      status = error.status();
      kept = error.what();
    } catch (const std::bad_alloc &) {
      status = DUO_STATUS_MEMORY;
      kept = "the machine has no memory left for this call";
    } catch (const std::exception &error) {
      kept = std::string("defect of the library: ") + error.what();
    }
    text = kept.c_str();
    if (task) task->set_error(kept);
  } catch (...) {
    text = "an error could not be described: no memory left";
  }
  set_last_error(text);
  return status;
}

template <typename Body>
int32_t guard(Body body) noexcept {
  return guard_task(nullptr, [&](Task &) { body(); });
}

template <typename T>
T *require(T *pointer, const char *name) {
  if (pointer == nullptr) fail(DUO_STATUS_NULL, "Expected `%s` to be a pointer, got null", name);
  return pointer;
}

// Bounds: `low` <= value <= `high`.
int64_t require_range(const char *name, int64_t value, int64_t low, int64_t high);
void require_tokens(const char *name, const int32_t *tokens, int64_t num_tokens, int64_t vocab);
Passage require_passage(const ModelConfig &config, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                        int64_t num_positions);
void require_gates(const char *name, const float *gates, int64_t num_gates);
Window require_window(int64_t sink_tokens, int64_t recent_tokens);
// Windows of duo.h, each 0 (the whole context) to 2^40.
void require_windows(const int64_t *windows, int64_t num_gates, int64_t sink_tokens);

// The streaming branches of whole-sample operations: as HeadWindows, the whole context as a window past every text's
// end.
struct BranchWindows {
  // gates null: no head streams, and neither argument is looked at.
  BranchWindows(const float *gates, const int64_t *windows, int64_t num_gates, int64_t sink_tokens);
  BranchWindows(const int64_t *windows, int64_t num_gates, int64_t sink_tokens);
  HeadWindows view() const { return {sink, recent.empty() ? nullptr : recent.data()}; }

  int64_t sink = 0;
  std::vector<int64_t> recent;  // [L·G], or empty
};
void require_finite(const char *name, const float *values, int64_t count);
void copy_text(const std::string &from, char *text, int64_t text_bytes);
OpenOptions parse_device(const char *device, int32_t num_threads, int32_t weight_dtype, int32_t compute, bool *is_cuda);

// Put the requested place of the weights into the options of a device.
void parse_placement(int32_t weights_on, int32_t next_pass, int64_t pass_tokens, int64_t beside_bytes, bool is_cuda,
                     OpenOptions *options);

}  // namespace duo
