// Prefill and decode on the CPU. Prefill feeds chunks through all layers; decode feeds one token of one or more
// sessions in one pass over the weights. Results do not depend on the number of threads, nor (beyond rounding) on where
// chunks end.
#include "cpu/session.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "cpu/layer_ops.h"
#include "cpu/sampling.h"

namespace duo {
namespace {

// Large enough that widening the weights is a small part of a product, small enough for tens of MB of activations.
constexpr int64_t DEFAULT_CHUNK_TOKENS = 512;

// Everything of the layers but attention, over `rows` tokens whose embeddings stand in workspace.hidden.
// attend(layer): from workspace.query, key, value (after norms and rope) to workspace.attended.
template <typename Attend>
void run_layers(const CpuContext &context, const CpuModel &model, SessionWorkspace &workspace, int64_t rows,
                const Attend &attend) {
  const ModelConfig &config = model.config();
  const int64_t hidden = config.hidden, query_width = config.query_width(), kv_width = config.kv_width(),
                head_dim = config.head_dim;
  for (int64_t index = 0; index < config.layers; index++) {
    const CpuLayer &layer = model.layer(index);
    rms_norm(context, workspace.hidden, layer.input_norm.data(), rows, hidden, config.rms_norm_eps, workspace.normed);
    multiply_linears(context, workspace.normed, hidden, rows,
                     {{&layer.query, workspace.query, query_width, false},
                      {&layer.key, workspace.key, kv_width, false},
                      {&layer.value, workspace.value, kv_width, false}});
    if (config.qk_norm) {
      rms_norm(context, workspace.query, layer.query_norm.data(), rows * config.heads, head_dim, config.rms_norm_eps,
               workspace.query);
      rms_norm(context, workspace.key, layer.key_norm.data(), rows * config.kv_heads, head_dim, config.rms_norm_eps,
               workspace.key);
    }
    apply_rope(context, workspace.query, rows, config.heads, head_dim, workspace.cos, workspace.sin, false);
    apply_rope(context, workspace.key, rows, config.kv_heads, head_dim, workspace.cos, workspace.sin, false);
    attend(index);
    multiply_linear(context, layer.output, workspace.attended, query_width, rows, workspace.hidden, hidden, true);
    rms_norm(context, workspace.hidden, layer.post_attention_norm.data(), rows, hidden, config.rms_norm_eps,
             workspace.normed);
    multiply_linears(context, workspace.normed, hidden, rows,
                     {{&layer.gate, workspace.gate, config.intermediate, false},
                      {&layer.up, workspace.up, config.intermediate, false}});
    swiglu(context, workspace.gate, workspace.up, rows, config.intermediate);
    multiply_linear(context, layer.down, workspace.gate, config.intermediate, rows, workspace.hidden, hidden, true);
  }
}

// Final norm and head of `rows` rows of hidden, which may be workspace.normed's memory. logits [rows, V]
void compute_logits(const CpuContext &context, const CpuModel &model, const float *hidden, int64_t rows, float *normed,
                    float *logits) {
  const ModelConfig &config = model.config();
  rms_norm(context, hidden, model.final_norm().data(), rows, config.hidden, config.rms_norm_eps, normed);
  multiply_linear(context, model.lm_head(), normed, config.hidden, rows, logits, config.vocab, false);
}

}  // namespace

void SessionWorkspace::reserve(int64_t rows) {
  if (rows <= rows_) return;
  const int64_t sizes[] = {config_.hidden,       config_.hidden,       config_.query_width(), config_.query_width(),
                           config_.kv_width(),   config_.kv_width(),   config_.kv_width(),    config_.kv_width(),
                           config_.intermediate, config_.intermediate, config_.head_dim / 2,  config_.head_dim / 2};
  float **const parts[] = {&hidden,          &normed,         &query, &attended, &key, &value,
                           &transposed_keys, &rounded_values, &gate,  &up,       &cos, &sin};
  int64_t total = 0;
  for (const int64_t size : sizes) total += rows * ((size + 15) / 16 * 16);
  rows_ = 0;
  memory_.resize(total);
  float *at = memory_.data();
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    *parts[i] = at;
    at += rows * ((sizes[i] + 15) / 16 * 16);
  }
  rows_ = rows;
}

CpuSession::CpuSession(std::shared_ptr<DuoModel> self, const CpuModel &model, const SessionOptions &options)
    : self_(std::move(self)),
      model_(model),
      config_(model.config()),
      options_(options),
      rope_(compute_rope_frequencies(config_, options.max_tokens)),
      cache_(config_, options),
      workspace_(config_),
      logits_(static_cast<size_t>(config_.vocab)) {
  if (options_.chunk_tokens == 0) options_.chunk_tokens = DEFAULT_CHUNK_TOKENS;
  options_.chunk_tokens = std::min(options_.chunk_tokens, options_.max_tokens);
  workspace_.reserve(1);
}

void CpuSession::prefill(const int32_t *tokens, int64_t num_tokens, Task &task) {
  task.set_total(num_tokens);
  for (int64_t done = 0; done < num_tokens;) {
    const int64_t count = std::min(options_.chunk_tokens, num_tokens - done);
    const bool is_last = done + count == num_tokens;
    // One token is decoded, except where a chunk would see one token more of the ring than decode does.
    if (count == 1 && !options_.chunked_prefill) {
      decode(tokens[done], task);
    } else {
      feed_chunk(tokens + done, count, is_last, task);
    }
    done += count;
    task.add_done(count);
  }
}

void CpuSession::feed_chunk(const int32_t *tokens, int64_t count, bool is_last, Task &task) {
  const CpuContext context = model_.session_context(&task);
  workspace_.reserve(count);
  embed_tokens(context, model_.embedding(), tokens, count, workspace_.hidden);
  fill_rope_tables(rope_, length_, count, workspace_.cos, workspace_.sin);
  run_layers(context, model_, workspace_, count, [&](int64_t layer) { attend_chunk_at(context, layer, count); });
  std::vector<float> logits(is_last ? logits_.size() : 0);
  if (is_last)
    compute_logits(context, model_, workspace_.hidden + (count - 1) * config_.hidden, 1, workspace_.normed,
                   logits.data());
  // From here on nothing may stop half way.
  commit_held(model_.session_context(), count);
  length_ += count;
  has_logits_ = false;
  if (is_last) set_logits(context, logits.data());
}

void CpuSession::rotate(const CpuContext &context, float *x, int64_t rows, int64_t heads) const {
  if (cache_.is_rotated()) apply_hadamard(context, x, rows, heads, config_.head_dim);
}

void CpuSession::attend_chunk_at(const CpuContext &context, int64_t layer, int64_t count) {
  rotate(context, workspace_.query, count, config_.heads);
  rotate(context, workspace_.key, count, config_.kv_heads);
  rotate(context, workspace_.value, count, config_.kv_heads);
  round_chunk(context, config_, cache_.dtype(), count, workspace_.key, workspace_.value, workspace_.transposed_keys,
              workspace_.rounded_values);
  attend_chunk(context, config_, layer,
               {&cache_, length_, count, options_.chunked_prefill, workspace_.query, workspace_.transposed_keys,
                workspace_.rounded_values, workspace_.attended});
  rotate(context, workspace_.attended, count, config_.heads);
  hold_or_write(context, layer, count);
}

// Slots beyond the text's length hold nothing yet and are written at once; live ring slots wait for commit_held.
void CpuSession::hold_or_write(const CpuContext &context, int64_t layer, int64_t count) {
  const int64_t head_dim = config_.head_dim, width = config_.kv_width();
  if (held_.empty()) held_.resize(static_cast<size_t>(config_.num_gates()));
  context.run(config_.kv_heads, [&](int64_t head, int64_t) {
    const bool overwrites = !cache_.is_retrieval(layer, head) && length_ + count > cache_.capacity(layer, head);
    const Window window = cache_.window(layer, head);
    const int64_t end = overwrites ? std::min(count, std::max<int64_t>(0, window.sink - length_)) : count;
    for (int64_t token = 0; token < end; token++) {
      cache_.write(layer, head, length_ + token, workspace_.key + token * width + head * head_dim,
                   workspace_.value + token * width + head * head_dim);
    }
    if (!overwrites) return;
    const int64_t begin = std::max(end, count - window.recent), kept = count - begin;
    ScratchBuffer &held = held_[static_cast<size_t>(layer * config_.kv_heads + head)];
    if (held.count() < 2 * kept * head_dim) held.resize(2 * kept * head_dim);
    for (int64_t i = 0; i < kept; i++) {
      const int64_t at = (begin + i) * width + head * head_dim;
      std::memcpy(held.data() + 2 * i * head_dim, workspace_.key + at, static_cast<size_t>(head_dim) * sizeof(float));
      std::memcpy(held.data() + (2 * i + 1) * head_dim, workspace_.value + at,
                  static_cast<size_t>(head_dim) * sizeof(float));
    }
  });
}

void CpuSession::commit_held(const CpuContext &context, int64_t count) {
  const int64_t head_dim = config_.head_dim;
  context.run(config_.num_gates(), [&](int64_t gate, int64_t) {
    const int64_t layer = gate / config_.kv_heads, head = gate % config_.kv_heads;
    if (cache_.is_retrieval(layer, head) || length_ + count <= cache_.capacity(layer, head)) return;
    const Window window = cache_.window(layer, head);
    const int64_t end = std::min(count, std::max<int64_t>(0, window.sink - length_));
    const int64_t begin = std::max(end, count - window.recent);
    const float *held = held_[static_cast<size_t>(gate)].data();
    for (int64_t i = 0; begin + i < count; i++) {
      cache_.write(layer, head, length_ + begin + i, held + 2 * i * head_dim, held + (2 * i + 1) * head_dim);
    }
  });
}

void CpuSession::decode(int32_t token, Task &task) {
  DuoSession *self = this;
  decode_batch(&self, &token, 1, task);
}

// The slot a new token takes in a ring belongs to a token that its query no longer sees, so an aborted pass may leave
// it written: the next token fed writes it again. Chunk-causal prefill would look at it once more, so there the pass is
// not stopped half way.
void CpuSession::decode_batch(DuoSession *const *sessions, const int32_t *tokens, int64_t num_sessions, Task &task) {
  task.check_abort();
  bool may_stop = true;
  std::vector<CpuSession *> batch;
  for (int64_t i = 0; i < num_sessions; i++) {
    batch.push_back(static_cast<CpuSession *>(sessions[i]));
    may_stop = may_stop && !batch.back()->options_.chunked_prefill;
  }
  const CpuContext context = model_.session_context(may_stop ? &task : nullptr);
  workspace_.reserve(num_sessions);
  embed_tokens(context, model_.embedding(), tokens, num_sessions, workspace_.hidden);
  for (int64_t i = 0; i < num_sessions; i++) {
    const CpuSession &session = *batch[static_cast<size_t>(i)];
    fill_rope_tables(session.rope_, session.length_, 1, workspace_.cos + i * (config_.head_dim / 2),
                     workspace_.sin + i * (config_.head_dim / 2));
  }
  run_layers(context, model_, workspace_, num_sessions, [&](int64_t layer) {
    std::vector<DecodeAttention> attending;
    for (int64_t i = 0; i < num_sessions; i++) {
      CpuSession &session = *batch[static_cast<size_t>(i)];
      session.rotate(context, workspace_.query + i * config_.query_width(), 1, config_.heads);
      session.rotate(context, workspace_.key + i * config_.kv_width(), 1, config_.kv_heads);
      session.rotate(context, workspace_.value + i * config_.kv_width(), 1, config_.kv_heads);
      for (int64_t head = 0; head < config_.kv_heads; head++) {
        const int64_t at = i * config_.kv_width() + head * config_.head_dim;
        session.cache_.write(layer, head, session.length_, workspace_.key + at, workspace_.value + at);
      }
      attending.push_back({&session.cache_, session.length_, workspace_.query + i * config_.query_width(),
                           workspace_.attended + i * config_.query_width()});
    }
    attend_decode(context, config_, layer, attending, workspace_.attention);
    for (int64_t i = 0; i < num_sessions; i++) {
      batch[static_cast<size_t>(i)]->rotate(context, workspace_.attended + i * config_.query_width(), 1, config_.heads);
    }
  });
  if (num_sessions == 1) {
    has_logits_ = false;
    compute_logits(context, model_, workspace_.hidden, 1, workspace_.normed, logits_.data());
    length_++;
    set_logits(context, logits_.data());
    return;
  }
  std::vector<float> logits(static_cast<size_t>(num_sessions * config_.vocab));
  compute_logits(context, model_, workspace_.hidden, num_sessions, workspace_.normed, logits.data());
  for (int64_t i = 0; i < num_sessions; i++) {
    batch[static_cast<size_t>(i)]->length_++;
    batch[static_cast<size_t>(i)]->has_logits_ = false;
  }
  for (int64_t i = 0; i < num_sessions; i++)
    batch[static_cast<size_t>(i)]->set_logits(context, logits.data() + i * config_.vocab);
}

void CpuSession::set_logits(const CpuContext &, const float *logits) {
  has_logits_ = false;
  if (logits != logits_.data()) std::copy(logits, logits + config_.vocab, logits_.begin());
  for (int64_t i = 0; i < config_.vocab; i++) {
    if (!std::isfinite(logits_[static_cast<size_t>(i)])) {
      fail(DUO_STATUS_NUMERIC,
           "Expected finite logits after token %" PRId64 ", got a NaN or infinity at vocabulary index %" PRId64,
           length_, i);
    }
  }
  has_logits_ = true;
}

const float *CpuSession::require_logits() const {
  if (!has_logits_)
    fail(DUO_STATUS_ARGUMENT,
         "Expected the session to have logits, got one that was fed no token since it was opened, filled or stopped");
  return logits_.data();
}

void CpuSession::logits(float *out) { std::copy(require_logits(), require_logits() + config_.vocab, out); }

int32_t CpuSession::sample(const Sampling &sampling) {
  return sample_token(require_logits(), config_.vocab, sampling, length_);
}

int64_t CpuSession::generate(int64_t num_tokens, const Sampling &sampling, const int32_t *stop_tokens,
                             int64_t num_stop_tokens, Task &task, int32_t *tokens) {
  task.set_total(num_tokens);
  for (int64_t i = 0; i < num_tokens; i++) {
    tokens[i] = sample(sampling);
    if (std::find(stop_tokens, stop_tokens + num_stop_tokens, tokens[i]) != stop_tokens + num_stop_tokens) return i + 1;
    decode(tokens[i], task);
    task.add_done();
  }
  return num_tokens;
}

std::unique_ptr<DuoSession> CpuSession::fork(Task &task) {
  auto forked = std::make_unique<CpuSession>(self_, model_, options_);
  model_.session_context(&task).run(config_.num_gates(), [&](int64_t gate, int64_t) {
    forked->cache_.copy_live(cache_, gate / config_.kv_heads, gate % config_.kv_heads, length_);
  });
  forked->logits_ = logits_;
  forked->has_logits_ = has_logits_;
  forked->length_ = length_;
  return forked;
}

SessionMemory CpuSession::memory() const {
  int64_t workspace = workspace_.bytes() + static_cast<int64_t>(logits_.size() * sizeof(float));
  for (const ScratchBuffer &held : held_) workspace += held.count() * static_cast<int64_t>(sizeof(float));
  return {cache_.bytes(), cache_.full_bytes(), workspace};
}

void CpuSession::fill(int64_t length, uint64_t seed, Task &task) {
  has_logits_ = false;
  length_ = 0;
  task.set_total(config_.num_gates());
  model_.session_context(&task).run(config_.num_gates(), [&](int64_t gate, int64_t) {
    cache_.fill(gate / config_.kv_heads, gate % config_.kv_heads, length, seed);
    task.add_done();
  });
  length_ = length;
}

std::unique_ptr<DuoSession> open_cpu_session(std::shared_ptr<DuoModel> self, const CpuModel &model,
                                             const SessionOptions &options, Task &task) {
  task.check_abort();
  return std::make_unique<CpuSession>(std::move(self), model, options);
}

}  // namespace duo
