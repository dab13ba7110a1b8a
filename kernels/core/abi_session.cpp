// Sessions of duo.h: check every argument, lock the session, call the backend.
#include <algorithm>
#include <cinttypes>

#include "core/abi.h"

namespace duo {
namespace {

struct LockedSession {
  std::shared_ptr<SessionEntry> entry;
  std::unique_lock<std::mutex> lock;
  DuoSession &session() const { return *entry->session; }
};

LockedSession lock_session(duo_session_t *handle) {
  LockedSession locked{session_table().find(handle, "session"), {}};
  locked.lock = std::unique_lock<std::mutex>(locked.entry->mutex);
  return locked;
}

duo_session_t *insert_session(std::shared_ptr<DuoModel> model, std::unique_ptr<DuoSession> session) {
  auto entry = std::make_shared<SessionEntry>();
  entry->model = std::move(model);
  entry->session = std::move(session);
  return session_table().insert(std::move(entry));
}

void require_room(const DuoSession &session, int64_t num_tokens) {
  if (num_tokens > session.max_tokens() - session.length()) {
    fail(DUO_STATUS_ARGUMENT,
         "Expected at most %" PRId64 " more tokens (the session holds %" PRId64 " of %" PRId64 "), got `%" PRId64 "`",
         session.max_tokens() - session.length(), session.length(), session.max_tokens(), num_tokens);
  }
}

Sampling require_sampling(float temperature, int32_t top_k, float top_p, uint64_t seed) {
  if (!(temperature >= 0.0f) || !std::isfinite(temperature)) {
    fail(DUO_STATUS_ARGUMENT, "Expected `temperature` to be a finite number of at least 0, got `%g`",
         static_cast<double>(temperature));
  }
  if (top_k < 0) fail(DUO_STATUS_ARGUMENT, "Expected `top_k` to be at least 0, got `%d`", top_k);
  if (!(top_p > 0.0f && top_p <= 1.0f)) {
    fail(DUO_STATUS_ARGUMENT, "Expected `top_p` to be above 0 and at most 1, got `%g`", static_cast<double>(top_p));
  }
  return {temperature, top_k, top_p, seed};
}

}  // namespace
}  // namespace duo

using namespace duo;

int32_t duo_session_open(duo_model_t *model, const int64_t *windows, int64_t sink_tokens, int64_t max_tokens,
                         int32_t kv_dtype, int32_t kv_rotation, int32_t prefill, int64_t chunk_tokens, duo_task_t *task,
                         duo_session_t **session) {
  return guard_task(task, [&](Task &running) {
    auto found = model_table().find(model, "model");
    const int64_t num_gates = found->config().num_gates();
    SessionOptions options;
    options.sink = 0;
    options.windows.assign(static_cast<size_t>(num_gates), 0);
    if (windows != nullptr) {
      require_windows(windows, num_gates, sink_tokens);
      options.sink = sink_tokens;
      options.windows.assign(windows, windows + num_gates);
    }
    options.max_tokens = require_range("max_tokens", max_tokens, 1, int64_t{1} << 30);
    if (kv_dtype < DUO_DTYPE_F32 || kv_dtype > DUO_DTYPE_K8V4 || kv_dtype == DUO_DTYPE_F16) {
      fail(DUO_STATUS_ARGUMENT, "Expected `kv_dtype` to be the code of F32, BF16, INT8, FP8, INT4 or K8V4, got `%d`",
           kv_dtype);
    }
    options.kv_dtype = static_cast<Dtype>(kv_dtype);
    options.rotates_kv =
        require_range("kv_rotation", kv_rotation, DUO_KV_ROTATION_OFF, DUO_KV_ROTATION_ON) == DUO_KV_ROTATION_ON;
    options.chunked_prefill =
        require_range("prefill", prefill, DUO_PREFILL_EXACT, DUO_PREFILL_CHUNKED) == DUO_PREFILL_CHUNKED;
    options.chunk_tokens = require_range("chunk_tokens", chunk_tokens, 0, int64_t{1} << 30);
    require(session, "session");
    auto opened = found->open_session(found, options, running);
    *session = insert_session(std::move(found), std::move(opened));
  });
}

int32_t duo_session_prefill(duo_session_t *session, const int32_t *tokens, int64_t num_tokens, duo_task_t *task) {
  return guard_task(task, [&](Task &running) {
    const LockedSession locked = lock_session(session);
    require_range("num_tokens", num_tokens, 1, int64_t{1} << 30);
    require_tokens("tokens", tokens, num_tokens, locked.entry->model->config().vocab);
    require_room(locked.session(), num_tokens);
    locked.session().prefill(tokens, num_tokens, running);
  });
}

int32_t duo_session_decode(duo_session_t *session, int32_t token, duo_task_t *task) {
  return guard_task(task, [&](Task &running) {
    const LockedSession locked = lock_session(session);
    require_tokens("token", &token, 1, locked.entry->model->config().vocab);
    require_room(locked.session(), 1);
    locked.session().decode(token, running);
  });
}

int32_t duo_session_decode_batch(duo_session_t *const *sessions, const int32_t *tokens, int32_t num_sessions,
                                 duo_task_t *task) {
  return guard_task(task, [&](Task &running) {
    require_range("num_sessions", num_sessions, 1, 4096);
    require(sessions, "sessions");
    std::vector<duo_session_t *> order(sessions, sessions + num_sessions);
    // Lock in one global order, so that two batches over the same sessions cannot wait for each other.
    std::sort(order.begin(), order.end());
    if (std::adjacent_find(order.begin(), order.end()) != order.end()) {
      fail(DUO_STATUS_ARGUMENT, "Expected `sessions` to be different sessions, got one twice");
    }
    std::vector<LockedSession> locked;
    for (duo_session_t *handle : order) locked.push_back(lock_session(handle));
    const auto &model = locked.front().entry->model;
    require_tokens("tokens", tokens, num_sessions, model->config().vocab);
    std::vector<DuoSession *> batch;
    for (int32_t i = 0; i < num_sessions; i++) {
      const auto at = std::lower_bound(order.begin(), order.end(), sessions[i]) - order.begin();
      const LockedSession &one = locked[static_cast<size_t>(at)];
      if (one.entry->model != model)
        fail(DUO_STATUS_ARGUMENT, "Expected all `sessions` to be of one model, got session %d of another", i);
      require_room(one.session(), 1);
      batch.push_back(&one.session());
    }
    batch.front()->decode_batch(batch.data(), tokens, num_sessions, running);
  });
}

int32_t duo_session_logits(duo_session_t *session, float *logits, int64_t num_logits) {
  return guard([&] {
    const LockedSession locked = lock_session(session);
    const int64_t vocab = locked.entry->model->config().vocab;
    if (num_logits != vocab)
      fail(DUO_STATUS_SHAPE, "Expected `num_logits` to be %" PRId64 ", got `%" PRId64 "`", vocab, num_logits);
    locked.session().logits(require(logits, "logits"));
  });
}

int32_t duo_session_sample(duo_session_t *session, float temperature, int32_t top_k, float top_p, uint64_t seed,
                           int32_t *token) {
  return guard([&] {
    const LockedSession locked = lock_session(session);
    *require(token, "token") = locked.session().sample(require_sampling(temperature, top_k, top_p, seed));
  });
}

int32_t duo_session_generate(duo_session_t *session, int64_t num_tokens, float temperature, int32_t top_k, float top_p,
                             uint64_t seed, const int32_t *stop_tokens, int32_t num_stop_tokens, duo_task_t *task,
                             int32_t *tokens, int64_t *num_generated) {
  return guard_task(task, [&](Task &running) {
    const LockedSession locked = lock_session(session);
    require_range("num_tokens", num_tokens, 1, int64_t{1} << 30);
    require_range("num_stop_tokens", num_stop_tokens, 0, 1 << 20);
    if (num_stop_tokens > 0) require(stop_tokens, "stop_tokens");
    require(tokens, "tokens");
    require(num_generated, "num_generated");
    require_room(locked.session(), num_tokens);
    *num_generated = locked.session().generate(num_tokens, require_sampling(temperature, top_k, top_p, seed),
                                               stop_tokens, num_stop_tokens, running, tokens);
  });
}

int32_t duo_session_fork(duo_session_t *session, duo_task_t *task, duo_session_t **forked) {
  return guard_task(task, [&](Task &running) {
    const LockedSession locked = lock_session(session);
    require(forked, "forked");
    *forked = insert_session(locked.entry->model, locked.session().fork(running));
  });
}

int32_t duo_session_length(duo_session_t *session, int64_t *length) {
  return guard([&] { *require(length, "length") = lock_session(session).session().length(); });
}

int32_t duo_session_memory(duo_session_t *session, int64_t *kv_bytes, int64_t *full_kv_bytes,
                           int64_t *workspace_bytes) {
  return guard([&] {
    const SessionMemory memory = lock_session(session).session().memory();
    *require(kv_bytes, "kv_bytes") = memory.kv_bytes;
    *require(full_kv_bytes, "full_kv_bytes") = memory.full_kv_bytes;
    *require(workspace_bytes, "workspace_bytes") = memory.workspace_bytes;
  });
}

int32_t duo_session_held(duo_session_t *session, int64_t *kv_bytes, int64_t *shared_bytes, int64_t *room_tokens) {
  return guard([&] {
    const SessionHeld held = lock_session(session).session().held();
    *require(kv_bytes, "kv_bytes") = held.kv_bytes;
    *require(shared_bytes, "shared_bytes") = held.shared_bytes;
    *require(room_tokens, "room_tokens") = held.room_tokens;
  });
}

int32_t duo_session_fill(duo_session_t *session, int64_t length, uint64_t seed, duo_task_t *task) {
  return guard_task(task, [&](Task &running) {
    const LockedSession locked = lock_session(session);
    require_range("length", length, 0, locked.session().max_tokens());
    locked.session().fill(length, seed, running);
  });
}

int32_t duo_session_close(duo_session_t *session) {
  return guard([&] {
    auto entry = session_table().remove(session, "session");
    // A call that still runs on the session keeps its entry alive; the state goes with the last of them.
    entry.reset();
  });
}
