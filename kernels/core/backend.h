// What a device implements: DuoModel and DuoSession. kernels/cpu and kernels/cuda each derive both; core/abi_*.cpp
// checks arguments and calls them. Implementations may throw duo::Error, std::bad_alloc; they never print, exit or let
// CUDA errors pass unseen.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/dtype.h"
#include "core/task.h"

namespace duo {

// What a head's streaming branch sees.
struct Window {
  int64_t sink;    // S >= 0
  int64_t recent;  // R >= 1
};

// The windows of all KV heads of a model or of a layer, under one sink; a view.
struct HeadWindows {
  int64_t sink;           // S >= 0
  const int64_t *recent;  // R >= 1 of each head; null where no head streams
  Window of(int64_t head) const { return {sink, recent[head]}; }
  HeadWindows from(int64_t head) const { return {sink, recent == nullptr ? nullptr : recent + head}; }
};

// One sample and where it is looked at. Checked by the ABI: ids in range, positions strictly ascending, all counts >=
// 1.
struct Passage {
  const int32_t *tokens;  // [num_tokens]
  int64_t num_tokens;
  const int32_t *positions;  // [num_positions]
  int64_t num_positions;
};

class KlMetric;  // core/kl_metric.h
// What attention() writes: nulls as duo_attention allows them.
struct AttentionReading {
  const int32_t *key_ranges;        // [P, 2]
  float *masses;                    // [P, L, H]
  int32_t *top_keys;                // [P, L, H]
  float *mean_queries, *mean_keys;  // [L, H, D], [L, G, D]
};

struct Sampling {
  float temperature;  // 0 = greedy
  int32_t top_k;      // 0 = all
  float top_p;        // 1 = all
  uint64_t seed;
};

struct SessionOptions {
  std::vector<int64_t>
      windows;  // [L·G], 0 = retrieval, else the head's recent tokens; never empty (null windows arrive as all zeros)
  int64_t sink;
  int64_t max_tokens;
  Dtype kv_dtype;
  bool chunked_prefill;     // DUO_PREFILL_CHUNKED
  int64_t chunk_tokens;     // 0 = the backend chooses
  bool rotates_kv = false;  // keys, values and queries of quantised caches are rotated by the Walsh–Hadamard transform

  bool is_retrieval(int64_t gate) const { return windows[static_cast<size_t>(gate)] == 0; }
  // Slots of a head's cache (docs/semantics.md, 6). S and R are each bounded by the ABI, so the sum cannot overflow.
  int64_t count_slots(int64_t gate) const {
    return is_retrieval(gate) ? max_tokens : std::min(max_tokens, sink + windows[static_cast<size_t>(gate)]);
  }
  int64_t count_all_slots() const {
    int64_t slots = 0;
    for (size_t gate = 0; gate < windows.size(); gate++) slots += count_slots(static_cast<int64_t>(gate));
    return slots;
  }
};

struct SessionMemory {
  int64_t kv_bytes, full_kv_bytes, workspace_bytes;
};

// What a session holds of kv_bytes now, and the tokens that still fit.
struct SessionHeld {
  int64_t kv_bytes, shared_bytes, room_tokens;
};

// The ABI holds a mutex over every call on one session, so implementations need no lock for their own state.
class DuoSession {
 public:
  virtual ~DuoSession() = default;
  virtual int64_t length() const = 0;
  virtual int64_t max_tokens() const = 0;
  virtual void prefill(const int32_t *tokens, int64_t num_tokens, Task &task) = 0;
  virtual void decode(int32_t token, Task &task) = 0;
  // `sessions` are distinct, of the same model, this one first, each with room for a token; all are locked.
  virtual void decode_batch(DuoSession *const *sessions, const int32_t *tokens, int64_t num_sessions, Task &task) = 0;
  virtual void logits(float *out) = 0;  // [V]; throws ARGUMENT before any token
  virtual int32_t sample(const Sampling &sampling) = 0;
  // Returns the number of tokens written to `tokens`; the contract is duo_session_generate's.
  virtual int64_t generate(int64_t num_tokens, const Sampling &sampling, const int32_t *stop_tokens,
                           int64_t num_stop_tokens, Task &task, int32_t *tokens) = 0;
  virtual std::unique_ptr<DuoSession> fork(Task &task) = 0;
  virtual SessionMemory memory() const = 0;
  // A cache that is allocated when the session opens is held as a whole.
  virtual SessionHeld held() const { return {memory().kv_bytes, 0, max_tokens() - length()}; }
  virtual void fill(int64_t length, uint64_t seed, Task &task) = 0;
};

// Of weights that are streamed from host memory, in bytes: what a pass through all layers copies, host memory that is
// pinned for it, weights that the device holds meanwhile, what was copied so far. All 0 where the device has all.
struct StreamedWeights {
  int64_t pass_bytes = 0, pinned_bytes = 0, device_bytes = 0, copied_bytes = 0;
};

// Calls on one model may come from several threads at once. `gates` is [L·G] or null for all full, `windows` then with
// no heads.
class DuoModel {
 public:
  virtual ~DuoModel() = default;
  virtual const ModelConfig &config() const = 0;
  virtual std::string device() const = 0;
  virtual int64_t weight_bytes() const = 0;
  virtual int64_t workspace_bytes() const = 0;
  virtual StreamedWeights streamed_weights() const { return {}; }
  // `windows` has all heads.
  virtual void estimate_distill(int64_t num_tokens, int64_t num_positions, const HeadWindows &windows,
                                int64_t *memory_bytes, double *operations) = 0;
  virtual void distill(const Passage &passage, const float *gates, const HeadWindows &windows, int32_t flags,
                       Task &task, double *loss, float *gradient) = 0;
  virtual void evaluate(const Passage &passage, const int32_t *targets, const float *gates, const HeadWindows &windows,
                        Task &task, float *log_probs, int32_t *predictions) = 0;
  virtual void hidden(const Passage &passage, const float *gates, const HeadWindows &windows, Task &task,
                      float *out) = 0;  // [P, C]
  virtual void logits(const Passage &passage, const float *gates, const HeadWindows &windows, Task &task,
                      float *out) = 0;  // [P, V]
  virtual void probe(const Passage &passage, const float *base_gates, const float *probe_gates, int64_t head_begin,
                     int64_t head_end, const HeadWindows &windows, Task &task,
                     float *differences) = 0;  // [head_end − head_begin, P, C]
  // base gates [L·G] of 0 or 1; vectors [num_vectors, P, C], windows [num_windows]; products [num_vectors, L, G,
  // num_windows]
  virtual void sketch(const Passage &passage, const float *base_gates, const HeadWindows &base_windows,
                      const float *vectors, int64_t num_vectors, const int64_t *windows, int64_t num_windows,
                      int64_t sink, Task &task, float *products) = 0;
  // As core/gram.h's accumulate_gram, with its bits, on the model's device.
  virtual void gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, double scale,
                    Task &task, double *gram, int64_t gram_stride) = 0;
  // Call `body` with the KL metric around reference [P, C] and anchor [P, C] or null, host memory, on the model's device.
  virtual void use_kl_metric(const float *reference, const float *anchor, int64_t num_positions, Task &task,
                             const std::function<void(const KlMetric &)> &body) = 0;
  virtual void attention(const Passage &passage, const AttentionReading &reading, Task &task) = 0;
  // The session may keep `self` (a shared pointer to this model) so that weights outlive it.
  virtual std::unique_ptr<DuoSession> open_session(std::shared_ptr<DuoModel> self, const SessionOptions &options,
                                                   Task &task) = 0;
};

struct OpenOptions {
  int device_index;     // CUDA ordinal; 0 on the CPU
  std::string variant;  // CPU: "" (best), "plain", "avx2", "avx512"
  int32_t num_threads;  // 0 = all
  Dtype weight_dtype;   // Dtype::stored, or what duo.h allows
  int32_t compute;      // DUO_COMPUTE_…
  int32_t weights_on = DUO_WEIGHTS_AUTO;
  // What comes next, for DUO_WEIGHTS_AUTO: the longest pass of all, and further device memory.
  int32_t next_pass = DUO_PASS_NONE;
  int64_t pass_tokens = 0, beside_bytes = 0;
};

struct DeviceInfo {
  std::string name, description, reason;  // reason: why not available, "" if it is
  int64_t memory_bytes;
  bool available;
  std::vector<std::string> features;
};

class WeightMap;  // core/weight_map.h: every tensor of a model by name, as mapped or random

// CPU, kernels/cpu/.
DeviceInfo describe_cpu();
std::shared_ptr<DuoModel> open_cpu_model(const ModelConfig &config, std::shared_ptr<const WeightMap> weights,
                                         const OpenOptions &options, Task &task);
double measure_cpu(const OpenOptions &options, int32_t measure, Task &task);

// CUDA, kernels/cuda/; declared always, defined where DUO_WITH_CUDA is.
std::vector<DeviceInfo> describe_cuda_devices();  // at least one entry, which says why there is none
std::shared_ptr<DuoModel> open_cuda_model(const ModelConfig &config, std::shared_ptr<const WeightMap> weights,
                                          const OpenOptions &options, Task &task);
double measure_cuda(const OpenOptions &options, int32_t measure, Task &task);

}  // namespace duo
