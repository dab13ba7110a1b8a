// Prefill in chunks through all layers, decode by the model's steps. A call returns when its work on the device is
// done. An abort is seen between chunks: a chunk that has begun overwrites live ring slots layer by layer, so it is
// finished.
#include "cuda/session.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>

#include "cuda/attention.h"
#include "cuda/layer_ops.h"
#include "cuda/reductions.h"

namespace duo::cuda {
namespace {

constexpr int64_t DEFAULT_CHUNK_TOKENS = 4096;  // full matrix rate; 8B: 0.4 GB of activations
constexpr int64_t MLP_ROWS = 8192;

int64_t align(int64_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

void PrefillBuffers::lay_out(Layout &layout, const ModelConfig &config, Dtype kv_dtype, int64_t rows) {
  const int64_t hidden = config.hidden, intermediate = config.intermediate, half = config.head_dim / 2,
                mlp = std::min(MLP_ROWS, rows);
  const int64_t query_width = config.query_width(), width = query_width + 2 * config.kv_width(),
                vectors = rows * config.kv_heads;
  const int head_dim = static_cast<int>(config.head_dim);
  tokens = layout.take<int32_t>(rows), positions = layout.take<int32_t>(rows);
  x = layout.take<float>(rows * hidden), cosine = layout.take<float>(rows * half),
  sine = layout.take<float>(rows * half);
  normed = layout.take<bf16>(rows * hidden), qkv = layout.take<bf16>(rows * width);
  query = layout.take<bf16>(rows * query_width), mixed = layout.take<bf16>(rows * query_width);
  gate_up = layout.take<bf16>(mlp * 2 * intermediate), activated = layout.take<bf16>(mlp * intermediate);
  key = layout.take<uint8_t>(vectors * kv_key_bytes(kv_dtype, head_dim));
  value = layout.take<uint8_t>(vectors * kv_value_bytes(kv_dtype, head_dim));
  const bool has_scale = kv_scale_bytes(kv_dtype) > 0;
  key_scale = has_scale ? layout.take<uint32_t>(vectors) : nullptr,
  value_scale = has_scale ? layout.take<uint32_t>(vectors) : nullptr;
}

CudaSession::CudaSession(std::shared_ptr<DuoModel> self, const CudaModel &model, const SessionOptions &options)
    : self_(std::move(self)),
      model_(model),
      config_(model.config()),
      options_(options),
      rope_(compute_rope_frequencies(config_, options.max_tokens)),
      pages_(model.pages(), std::count(options.windows.begin(), options.windows.end(), 0),
             kv_page_bytes(options.kv_dtype, static_cast<int>(config_.head_dim)), options.max_tokens),
      length_device_(1),
      token_(1),
      first_bad_(1),
      inverse_(config_.head_dim / 2),
      logits_(config_.vocab) {
  require_decode_shape(model, options_.kv_dtype);
  if (options_.chunk_tokens == 0) options_.chunk_tokens = DEFAULT_CHUNK_TOKENS;
  options_.chunk_tokens = std::min(options_.chunk_tokens, options_.max_tokens);
  copy_to_device(inverse_.data(), rope_.inverse.data(), inverse_.count(), stream_);
  lay_out_caches();
  stream_.wait();
}

void CudaSession::lay_out_caches() {
  const int head_dim = static_cast<int>(config_.head_dim);
  const int64_t key_row = kv_key_bytes(options_.kv_dtype, head_dim),
                value_row = kv_value_bytes(options_.kv_dtype, head_dim), scale = kv_scale_bytes(options_.kv_dtype);
  int64_t total = 0;
  for (int64_t gate = 0; gate < config_.num_gates(); gate++) {
    const int64_t count = options_.is_retrieval(gate) ? 0 : options_.count_slots(gate);
    total += align(count * key_row) + align(count * value_row) + 2 * align(count * scale);
  }
  rings_.resize(total);
  std::vector<int32_t> lists;
  int64_t num_paged = 0;
  uint8_t *at = rings_.data();
  const auto take = [&](int64_t bytes) {
    uint8_t *here = at;
    at += align(bytes);
    return here;
  };
  for (int64_t layer = 0; layer < config_.layers; layer++) {
    std::vector<int32_t> streaming;
    const auto begin = lists.size();
    for (int64_t head = 0; head < config_.kv_heads; head++) {
      const int64_t gate = layer * config_.kv_heads + head, count = options_.count_slots(gate);
      HeadCache cache{};
      if (options_.is_retrieval(gate)) {
        cache.pages = pages_.pages_of(num_paged++);
        cache.page_stride = pages_.stride();
      } else {
        cache.key = take(count * key_row);
        cache.value = take(count * value_row);
        cache.key_scale = scale > 0 ? reinterpret_cast<uint32_t *>(take(count * scale)) : nullptr;
        cache.value_scale = scale > 0 ? reinterpret_cast<uint32_t *>(take(count * scale)) : nullptr;
      }
      cache.slots = count;
      cache.is_ring = !options_.is_retrieval(gate);
      cache.sink = options_.sink, cache.recent = options_.windows[static_cast<size_t>(gate)];
      caches_host_.push_back(cache);
      (cache.is_ring ? streaming : lists).push_back(static_cast<int32_t>(head));
    }
    num_retrieval_.push_back(static_cast<int32_t>(lists.size() - begin));
    // The grid's tail is short work.
    std::stable_sort(streaming.begin(), streaming.end(), [&](int32_t a, int32_t b) {
      const int64_t *windows = options_.windows.data() + layer * config_.kv_heads;
      return windows[a] > windows[b];
    });
    lists.insert(lists.end(), streaming.begin(), streaming.end());
  }
  caches_.resize(config_.num_gates());
  kv_lists_.resize(config_.num_gates());
  recent_.resize(config_.num_gates());
  copy_to_device(recent_.data(), options_.windows.data(), config_.num_gates(), stream_);
  copy_to_device(caches_.data(), caches_host_.data(), config_.num_gates(), stream_);
  copy_to_device(kv_lists_.data(), lists.data(), config_.num_gates(), stream_);
}

int64_t CudaSession::slot_bytes() const {
  return kv_entry_bytes(options_.kv_dtype, static_cast<int>(config_.head_dim));
}

int64_t CudaSession::ring_slots() const {
  int64_t slots = 0;
  for (int64_t gate = 0; gate < config_.num_gates(); gate++)
    slots += options_.is_retrieval(gate) ? 0 : options_.count_slots(gate);
  return slots;
}

int64_t CudaSession::prefill_bytes() const {
  Layout size(nullptr);
  PrefillBuffers buffers;
  buffers.lay_out(size, config_, options_.kv_dtype, options_.chunk_tokens);
  return std::max<int64_t>(0, size.bytes() - model_.workspace().bytes());
}

// Pages for tokens about to be fed, all or none.
void CudaSession::reserve(int64_t num_tokens, const Stream &stream) {
  try {
    try {
      pages_.reserve(length_, num_tokens, stream);
    } catch (const Error &error) {
      if (error.status() != DUO_STATUS_MEMORY || model_.workspace().bytes() == 0) throw;
      model_.workspace().release();  // memory kept for the next prefill
      pages_.reserve(length_, num_tokens, stream);
    }
  } catch (const Error &error) {
    if (error.status() != DUO_STATUS_MEMORY) throw;
    fail(DUO_STATUS_MEMORY,
         "Expected device memory for the keys and values of %" PRId64 " more tokens (the session holds %" PRId64
         "), found room for %" PRId64
         ": close other sessions, feed fewer tokens, or open with fewer full heads or a smaller KV dtype",
         num_tokens, length_, std::min(num_tokens - 1, pages_.count_room(length_, 0)));
  }
}

void CudaSession::prefill(const int32_t *tokens, int64_t num_tokens, Task &task) {
  model_.select_device();
  task.set_total(num_tokens);
  reserve(num_tokens, stream_);
  try {
    prefill_reserved(tokens, num_tokens, task);
  } catch (...) {
    pages_.trim(length_);
    throw;
  }
}

void CudaSession::prefill_reserved(const int32_t *tokens, int64_t num_tokens, Task &task) {
  Layout size(nullptr);
  buffers_.lay_out(size, config_, options_.kv_dtype, std::min(options_.chunk_tokens, num_tokens));
  const WorkspaceLoan loan(model_.workspace(), size.bytes(), stream_);
  Layout layout(loan.data());
  buffers_.lay_out(layout, config_, options_.kv_dtype, std::min(options_.chunk_tokens, num_tokens));
  for (int64_t done = 0; done < num_tokens;) {
    task.check_abort();
    const int64_t count = std::min(options_.chunk_tokens, num_tokens - done);
    // One token is decoded, except where a chunk would see one token more of the ring than decode does.
    if (count == 1 && !options_.chunked_prefill) {
      decode(tokens[done], task);
    } else {
      feed_chunk(tokens + done, count, done + count == num_tokens, task);
    }
    done += count;
    task.add_done(count);
  }
}

void CudaSession::attend_chunk(int64_t layer, int64_t count) {
  const int64_t kv_heads = config_.kv_heads;
  AttentionForward a{};
  a.shape = {static_cast<int32_t>(config_.heads), static_cast<int32_t>(kv_heads),
             static_cast<int32_t>(config_.head_dim), options_.sink, recent_.data() + layer * kv_heads};
  a.query = buffers_.query;
  a.positions = buffers_.positions;
  a.num_rows = a.chunk_count = count;
  a.dtype = options_.kv_dtype;
  a.rotates = rotates();
  a.chunk_key = buffers_.key, a.chunk_value = buffers_.value;
  a.chunk_key_scale = buffers_.key_scale, a.chunk_value_scale = buffers_.value_scale;
  a.chunk_start = length_;
  a.caches = caches_.data() + layer * kv_heads;
  a.is_chunked = options_.chunked_prefill;
  a.mixed = buffers_.mixed;
  a.kv_list = kv_lists_.data() + layer * kv_heads;
  a.num_listed = num_retrieval_[static_cast<size_t>(layer)];
  check(launch_attention_forward(a, Branches::full, stream_.get()), "attention");
  a.kv_list += a.num_listed;
  a.num_listed = static_cast<int32_t>(kv_heads) - a.num_listed;
  check(launch_attention_forward(a, Branches::stream, stream_.get()), "attention");
  CacheCopy copy{};
  copy.key = buffers_.key, copy.value = buffers_.value;
  copy.key_scale = buffers_.key_scale, copy.value_scale = buffers_.value_scale;
  copy.caches = a.caches;
  copy.rows = count, copy.start = length_;
  copy.kv_heads = a.shape.kv_heads, copy.head_dim = a.shape.head_dim;
  copy.dtype = options_.kv_dtype;
  check(launch_cache_copy(copy, stream_.get()), "writing the cache");
}

void CudaSession::feed_chunk(const int32_t *tokens, int64_t count, bool is_last, Task &task) {
  const int64_t hidden = config_.hidden, query_width = config_.query_width(), kv_width = config_.kv_width(),
                width = query_width + 2 * kv_width;
  const int64_t intermediate = config_.intermediate, half = config_.head_dim / 2, mlp = std::min(MLP_ROWS, count);
  const PrefillBuffers &b = buffers_;
  forget_logits();
  copy_to_device(b.tokens, tokens, count, stream_);
  check(launch_count_up(length_, count, b.positions, stream_.get()), "numbering positions");
  check(launch_rope_tables(inverse_.data(), rope_.attention_scale, length_, count, static_cast<int32_t>(half), b.cosine,
                           b.sine, stream_.get()),
        "making rotary tables");
  model_.embed(b.tokens, count, b.x, stream_);
  RopeWrite rope{};
  rope.query_in = b.qkv, rope.key_in = b.qkv + query_width, rope.value_in = rope.key_in + kv_width;
  rope.query_stride = rope.key_stride = width;
  rope.query_positions = rope.positions = b.positions;
  rope.table_start = length_;
  rope.query_rows = rope.rows = count;
  rope.heads = static_cast<int32_t>(config_.heads), rope.kv_heads = static_cast<int32_t>(config_.kv_heads),
  rope.head_dim = static_cast<int32_t>(config_.head_dim);
  rope.eps = config_.rms_norm_eps;
  rope.cosine = b.cosine, rope.sine = b.sine;
  rope.query_out = b.query;
  rope.dtype = options_.kv_dtype;
  rope.rotates_kv = rotates();
  rope.key_out = b.key, rope.value_out = b.value;
  rope.key_scale = b.key_scale, rope.value_scale = b.value_scale;
  const LayerTurn turn(model_.layers(), task);
  model_.layers().expect({1, 0});
  LayerReader layers(model_.layers(), stream_);
  for (int64_t index = 0; index < config_.layers; index++) {
    const DeviceLayer &layer = layers.use(index);
    check(launch_rms_norm(b.x, layer.input_norm.data(), count, hidden, config_.rms_norm_eps, b.normed, stream_.get()),
          "a norm");
    multiply_linear(model_, layer.qkv, 0, width, b.normed, count, b.qkv, width, Store::half, scratch_, stream_);
    rope.query_norm = layer.query_norm.data(), rope.key_norm = layer.key_norm.data();
    check(launch_rope_write(rope, stream_.get()), "rotating queries and keys");
    attend_chunk(index, count);
    multiply_linear(model_, layer.output, 0, hidden, b.mixed, count, b.x, hidden, Store::add_f32, scratch_, stream_);
    for (int64_t first = 0; first < count; first += mlp) {
      const int64_t here = std::min(mlp, count - first);
      float *x = b.x + first * hidden;
      check(launch_rms_norm(x, layer.post_attention_norm.data(), here, hidden, config_.rms_norm_eps, b.normed,
                            stream_.get()),
            "a norm");
      multiply_linear(model_, layer.gate_up, 0, 2 * intermediate, b.normed, here, b.gate_up, 2 * intermediate,
                      Store::half, scratch_, stream_);
      check(launch_swiglu(b.gate_up, here, intermediate, b.activated, stream_.get()), "swiglu");
      multiply_linear(model_, layer.down, 0, hidden, b.activated, here, x, hidden, Store::add_f32, scratch_, stream_);
    }
  }
  int32_t first_bad = -1;
  if (is_last) {
    check(launch_rms_norm(b.x + (count - 1) * hidden, model_.final_norm().data(), 1, hidden, config_.rms_norm_eps,
                          b.normed, stream_.get()),
          "the final norm");
    multiply_linear(model_, model_.lm_head(), 0, config_.vocab, b.normed, 1, logits_.data(), config_.vocab, Store::f32,
                    scratch_, stream_);
    check(launch_check_finite(logits_.data(), 1, config_.vocab, first_bad_.data(), stream_.get()), "checking logits");
    copy_to_host(&first_bad, first_bad_.data(), 1, stream_);
  }
  stream_.wait();
  length_ += count;
  if (is_last) require_finite(first_bad);
}

void CudaSession::require_finite(int32_t first_bad) {
  if (first_bad >= 0) {
    fail(DUO_STATUS_NUMERIC,
         "Expected finite logits after token %" PRId64 ", got a NaN or infinity at vocabulary index %d", length_,
         first_bad);
  }
  has_logits_ = true;
}

void CudaSession::decode(int32_t token, Task &task) {
  DuoSession *self = this;
  decode_batch(&self, &token, 1, task);
}

void CudaSession::decode_batch(DuoSession *const *sessions, const int32_t *tokens, int64_t num_sessions, Task &task) {
  model_.select_device();
  // A step takes sessions of one KV dtype and one rotation.
  for (int64_t first = 0, count; first < num_sessions; first += count) {
    task.check_abort();
    std::vector<CudaSession *> batch;
    std::vector<DecodeMember> members;
    for (count = 0; count < MAX_STEP_SESSIONS && first + count < num_sessions; count++) {
      auto *session = static_cast<CudaSession *>(sessions[first + count]);
      if (!batch.empty() && (session->options_.kv_dtype != batch.front()->options_.kv_dtype ||
                             session->rotates() != batch.front()->rotates()))
        break;
      batch.push_back(session);
      members.push_back(session->member());
    }
    const LayerTurn layers(model_.layers(), task);
    DecodeTurn turn(model_.decode_steps());
    DecodeStep &step = turn.step(batch.front()->kind(count));
    for (CudaSession *session : batch) session->reserve(1, turn.stream());
    for (CudaSession *session : batch) session->forget_logits();
    step.run(members, tokens + first, turn.stream());
    // A caller that decodes a given token reads its logits next: they are copied while the device is waited for anyway.
    for (CudaSession *session : batch) session->start_logits_copy(turn.stream());
    turn.stream().wait();
    for (CudaSession *session : batch) session->length_++, session->has_host_logits_ = true;
    for (int64_t i = 0; i < count; i++) batch[static_cast<size_t>(i)]->require_finite(step.first_bad(i));
  }
}

void CudaSession::start_logits_copy(const Stream &stream) {
  host_logits_.resize(config_.vocab);
  check(cudaMemcpyAsync(host_logits_.data(), logits_.data(), static_cast<size_t>(logits_.bytes()),
                        cudaMemcpyDeviceToHost, stream.get()),
        "reading logits");
}

void CudaSession::require_logits() const {
  if (!has_logits_)
    fail(DUO_STATUS_ARGUMENT,
         "Expected the session to have logits, got one that was fed no token since it was opened, filled or stopped");
}

void CudaSession::logits(float *out) {
  require_logits();
  if (has_host_logits_) {
    std::memcpy(out, host_logits_.data(), static_cast<size_t>(config_.vocab) * sizeof(float));
    return;
  }
  model_.select_device();
  copy_to_host(out, logits_.data(), config_.vocab, stream_);
}

void CudaSession::run_sample(const Sampling &sampling, int32_t *token, const Stream &stream) {
  if (sampling.temperature > 0.0f) sample_weights_.reserve(config_.vocab);
  check(launch_set_value(length_device_.data(), static_cast<int32_t>(length_), stream.get()), "setting a length");
  check(launch_sample({logits_.data(), config_.vocab, length_device_.data(), sampling.temperature, sampling.top_p,
                       sampling.top_k, sampling.seed, sample_weights_.data(), token},
                      stream.get()),
        "choosing a token");
}

int32_t CudaSession::sample(const Sampling &sampling) {
  require_logits();
  model_.select_device();
  run_sample(sampling, token_.data(), stream_);
  int32_t token = 0;
  copy_to_host(&token, token_.data(), 1, stream_);
  return token;
}

int64_t CudaSession::generate(int64_t num_tokens, const Sampling &sampling, const int32_t *stop_tokens,
                              int64_t num_stop_tokens, Task &task, int32_t *tokens) {
  require_logits();
  model_.select_device();
  task.set_total(num_tokens);
  for (int64_t i = 0; i < num_tokens; i++) {
    task.check_abort();
    const LayerTurn layers(model_.layers(), task);
    DecodeTurn turn(model_.decode_steps());
    DecodeStep &step = turn.step(kind(1));
    reserve(1, turn.stream());
    // The drawn token stays on the device as the step's input; the host reads it for the caller and the stop list.
    run_sample(sampling, step.token(), turn.stream());
    copy_to_host(tokens + i, step.token(), 1, turn.stream());
    if (std::find(stop_tokens, stop_tokens + num_stop_tokens, tokens[i]) != stop_tokens + num_stop_tokens) return i + 1;
    forget_logits();
    step.run({member()}, nullptr, turn.stream());
    turn.stream().wait();
    length_++;
    require_finite(step.first_bad(0));
    task.add_done();
  }
  return num_tokens;
}

std::unique_ptr<DuoSession> CudaSession::fork(Task &task) {
  model_.select_device();
  task.check_abort();
  auto forked = std::make_unique<CudaSession>(self_, model_, options_);
  forked->pages_.share(pages_, length_, stream_);
  if (rings_.count() > 0) {
    check(cudaMemcpyAsync(forked->rings_.data(), rings_.data(), static_cast<size_t>(rings_.bytes()),
                          cudaMemcpyDeviceToDevice, stream_.get()),
          "copying the rings");
  }
  check(cudaMemcpyAsync(forked->logits_.data(), logits_.data(), static_cast<size_t>(logits_.bytes()),
                        cudaMemcpyDeviceToDevice, stream_.get()),
        "copying logits");
  stream_.wait();
  forked->length_ = length_;
  forked->has_logits_ = has_logits_;
  return forked;
}

SessionMemory CudaSession::memory() const {
  const int64_t a_slot = slot_bytes();
  int64_t workspace = scratch_.widened.bytes() + logits_.bytes() + sample_weights_.bytes();
  return {a_slot * options_.count_all_slots(), a_slot * config_.num_gates() * options_.max_tokens, workspace};
}

SessionHeld CudaSession::held() const {
  model_.select_device();
  const int64_t room = std::min(options_.max_tokens - length_, pages_.count_room(length_, prefill_bytes()));
  return {pages_.held_bytes() + slot_bytes() * ring_slots(), pages_.shared_bytes(), room};
}

void CudaSession::fill(int64_t length, uint64_t seed, Task &task) {
  model_.select_device();
  forget_logits();
  length_ = 0;
  pages_.trim(0);  // a fork may have them too
  reserve(length, stream_);
  task.set_total(config_.num_gates());
  for (int64_t gate = 0; gate < config_.num_gates(); gate++) {
    task.check_abort();
    HeadCache cache = caches_host_[static_cast<size_t>(gate)];
    if (!cache.is_ring) cache.slots = length;
    if (cache.slots > 0)
      check(launch_fill_cache(cache, options_.kv_dtype, static_cast<int32_t>(config_.head_dim),
                              seed * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(gate), stream_.get()),
            "filling the cache");
    task.add_done();
  }
  stream_.wait();
  length_ = length;
}

std::unique_ptr<DuoSession> open_cuda_session(std::shared_ptr<DuoModel> self, const CudaModel &model,
                                              const SessionOptions &options, Task &task) {
  task.check_abort();
  return std::make_unique<CudaSession>(std::move(self), model, options);
}

}  // namespace duo::cuda
