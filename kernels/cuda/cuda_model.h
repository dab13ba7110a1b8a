// The CUDA device's DuoModel: weights as bf16, as int8 with a scale per row or in groups (core/packed_weights.h), products
// of one input joined into one matrix; those of layers in device memory or streamed from the host's (layer_store.h).
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/rope.h"
#include "core/weight_map.h"
#include "cuda/layer_store.h"
#include "cuda/linear_algebra.h"
#include "cuda/mlp_scales.h"
#include "cuda/page_pool.h"
#include "cuda/pass_memory.h"
#include "cuda/workspace.h"

namespace duo::cuda {

class DecodeSteps;
class Uploader;
class SamplePass;

class CudaModel : public DuoModel {
 public:
  CudaModel(const ModelConfig &config, std::shared_ptr<const WeightMap> weights, const OpenOptions &options,
            Task &task);

  const ModelConfig &config() const override { return config_; }
  std::string device() const override { return device_; }
  int64_t weight_bytes() const override { return weight_bytes_; }
  StreamedWeights streamed_weights() const override;
  int64_t workspace_bytes() const override;
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

  void select_device() const { check(cudaSetDevice(device_index_), "selecting the device"); }
  // Where layers are asked for; a LayerTurn first.
  LayerStore &layers() const { return layers_; }
  const DeviceMatrix &embedding() const { return embedding_; }
  const DeviceBuffer<float> &final_norm() const { return final_norm_; }
  // The embedding itself where they are tied.
  const DeviceMatrix &lm_head() const { return config_.tied_embeddings ? embedding_ : lm_head_; }
  // Queue x [count, C] fp32 = the embeddings of tokens [count].
  void embed(const int32_t *tokens, int64_t count, float *x, const Stream &stream, Half half = Half::bf16) const;
  // Make the f16 twins of all matrices, once, within a LayerTurn: from the stored values, so that none is rounded to
  // bf16 on the way. Twice bf16 weights' memory from then on. Throws MEMORY, ABORTED.
  void require_f16(Task &task);
  LinearAlgebra &algebra() const { return algebra_; }
  const DeviceSize &device_size() const { return device_size_; }
  WorkspacePool &workspace() const { return workspace_; }
  PagePool &pages() const { return pages_; }
  DecodeSteps &decode_steps() const { return *decode_steps_; }
  // How many layers' branches a distillation pass keeps: all that fit in addition to the weights. The result has the
  // same bits for any number.
  int64_t choose_kept_layers(PassSize size) const;
  int64_t beside_pass_bytes() const;
  // Bytes of weights in device memory.
  int64_t device_weight_bytes() const;
  // How many heads of a layer a probe runs side by side: what the device needs to be full, as memory allows. The result
  // has the same bits for any number.
  int64_t choose_probe_lanes(const Passage &passage) const;
  // How many vectors a sketch carries back at once: all, as memory allows. The result has the same bits for any number.
  int64_t choose_sketch_vectors(const Passage &passage, int64_t most) const;
  // How many floats of changes, or of what they become, the KL metric holds on the device at once. The result has the
  // same bits for any number.
  void limit_kl_floats(int64_t most) { most_kl_floats_ = most; }
  void limit_sketch_vectors(int64_t most) { most_sketch_vectors_ = most; }
  void limit_probe_lanes(int64_t most) { most_probe_lanes_ = most; }
  void limit_kept_layers(int64_t most) { most_kept_layers_ = most; }

 private:
  void upload_layer(Uploader &uploader, int64_t index, Dtype asked, bool to_host);
  bool chooses_host(const OpenOptions &options) const;
  bool keep_inputs(SamplePass &pass, MlpScales &scales, float *inputs, float *last) const;
  bool probe_once(const Passage &passage, const float *base_gates, const float *probe_gates, int64_t head_begin,
                  int64_t head_end, const HeadWindows &windows, Task &task, MlpScales &scales, int64_t &num_reported,
                  float *differences);
  ModelConfig config_;
  std::shared_ptr<const WeightMap> weights_;
  int device_index_;
  std::string device_;
  DeviceSize device_size_{};
  int64_t weight_bytes_ = 0, end_bytes_ = 0;  // of all; of embeddings, final norm and LM head
  mutable LinearAlgebra algebra_;
  DeviceMatrix embedding_;
  std::mutex f16_mutex_;
  bool has_f16_ = false;
  mutable LayerStore layers_;
  DeviceBuffer<float> final_norm_;
  DeviceMatrix lm_head_;                       // empty where it is tied
  int64_t most_kl_floats_ = int64_t{1} << 24;  // 64 MB: whole tiles of many positions
  int64_t most_kept_layers_ = INT64_MAX, most_probe_lanes_ = INT64_MAX, most_sketch_vectors_ = INT64_MAX;
  mutable WorkspacePool workspace_;
  mutable PagePool pages_;
  std::shared_ptr<DecodeSteps> decode_steps_;
};

// kernels/cuda/session.cu
std::unique_ptr<DuoSession> open_cuda_session(std::shared_ptr<DuoModel> self, const CudaModel &model,
                                              const SessionOptions &options, Task &task);

}  // namespace duo::cuda
