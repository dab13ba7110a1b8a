// The CPU's DuoModel: weights of every layer as Linear views of the mapped files, quantised ones laid out for products
// once more, norms and biases widened to fp32, one thread pool.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/rope.h"
#include "core/weight_map.h"
#include "cpu/linear.h"
#include "cpu/page_block.h"
#include "cpu/thread_pool.h"

namespace duo {

struct CpuLayer {
  std::vector<float> input_norm, post_attention_norm;  // [C]
  std::vector<float> query_norm, key_norm;             // [D] or empty
  Linear query, key, value, output, gate, up, down;
};

class CpuModel : public DuoModel {
 public:
  CpuModel(const ModelConfig &config, std::shared_ptr<const WeightMap> weights, const OpenOptions &options);

  const ModelConfig &config() const override { return config_; }
  std::string device() const override;
  int64_t weight_bytes() const override;
  int64_t workspace_bytes() const override { return 0; }
  void estimate_distill(int64_t num_tokens, int64_t num_positions, const HeadWindows &windows, int64_t *memory_bytes,
                        double *operations) override;
  void distill(const Passage &passage, const float *gates, const HeadWindows &windows, int32_t flags, Task &task,
               double *loss, float *gradient) override;
  void evaluate(const Passage &passage, const int32_t *targets, const float *gates, const HeadWindows &windows,
                Task &task, float *log_probs, int32_t *predictions) override;
  void hidden(const Passage &passage, const float *gates, const HeadWindows &windows, Task &task, float *out) override;
  void logits(const Passage &passage, const float *gates, const HeadWindows &windows, Task &task, float *out) override;
  void probe(const Passage &passage, const float *base_gates, const float *probe_gates, int64_t head_begin,
             int64_t head_end, const HeadWindows &windows, Task &task, float *differences) override;
  void sketch(const Passage &passage, const float *base_gates, const HeadWindows &base_windows, const float *vectors,
              int64_t num_vectors, const int64_t *windows, int64_t num_windows, int64_t sink, Task &task,
              float *products) override;
  void gram(const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length, double scale, Task &task,
            double *gram, int64_t gram_stride) override;
  void use_kl_metric(const float *reference, const float *anchor, int64_t num_positions, Task &task,
                     const std::function<void(const KlMetric &)> &body) override;
  void attention(const Passage &passage, const AttentionReading &reading, Task &task) override;
  std::unique_ptr<DuoSession> open_session(std::shared_ptr<DuoModel> self, const SessionOptions &options,
                                           Task &task) override;

  // What sessions build on.
  CpuContext session_context(const Task *task = nullptr) const { return {*pool_, ops_, compute_, task}; }
  // Of whole-sample operations, which never round activations to int8.
  CpuContext context(const Task *task = nullptr) const {
    return {*pool_, ops_, compute_ == DUO_COMPUTE_INT8 ? DUO_COMPUTE_ACCURATE : compute_, task};
  }
  const CpuLayer &layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  const Tensor &embedding() const { return embedding_; }
  const std::vector<float> &final_norm() const { return final_norm_; }
  const Linear &lm_head() const { return lm_head_; }

 private:
  void pack_quantized();

  ModelConfig config_;
  std::shared_ptr<const WeightMap> weights_;
  const SimdOps &ops_;
  int32_t compute_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<PageBlock> panels_;  // of all quantised linear layers; null where there are none
  int64_t panel_bytes_ = 0;
  Tensor embedding_;
  std::vector<CpuLayer> layers_;
  std::vector<float> final_norm_;
  Linear lm_head_;
};

// kernels/cpu/session.cpp; `self` is the model as DuoModel, kept by the session.
std::unique_ptr<DuoSession> open_cpu_session(std::shared_ptr<DuoModel> self, const CpuModel &model,
                                             const SessionOptions &options, Task &task);

}  // namespace duo
