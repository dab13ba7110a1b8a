// Models and whole-sample operations of duo.h: check every argument, then call the backend.
#include <algorithm>
#include <cinttypes>
#include <thread>

#include "core/abi.h"
#include "core/kl_metric.h"
#include "core/weight_map.h"

namespace duo {
namespace {

std::shared_ptr<DuoModel> open_model(const ModelConfig &config, std::shared_ptr<const WeightMap> weights,
                                     const OpenOptions &options, bool is_cuda, Task &task) {
#ifdef DUO_WITH_CUDA
  if (is_cuda) return open_cuda_model(config, std::move(weights), options, task);
#endif
  if (is_cuda)
    fail(DUO_STATUS_UNSUPPORTED, "Expected a CPU device: the library was built without CUDA, got `cuda:%d`",
         options.device_index);
  if (options.weight_dtype != Dtype::stored && options.weight_dtype != Dtype::f32 &&
      options.weight_dtype != Dtype::bf16) {
    fail(DUO_STATUS_UNSUPPORTED, "Expected `weight_dtype` on the CPU to be as stored, F32 or BF16, got code `%d`",
         static_cast<int>(options.weight_dtype));
  }
  return open_cpu_model(config, std::move(weights), options, task);
}

void require_kl_point(const ModelConfig &config, const float *reference, const float *anchor, int64_t num_positions) {
  require_range("num_positions", num_positions, 1, int64_t{1} << 30);
  require_finite("reference", require(reference, "reference"), num_positions * config.hidden);
  if (anchor != nullptr) require_finite("anchor", anchor, num_positions * config.hidden);
}

}  // namespace
}  // namespace duo

using namespace duo;

int32_t duo_model_open(const duo_model_config_t *config, const char *const *shard_paths, int32_t num_shards,
                       const char *device, int32_t num_threads, int32_t weight_dtype, int32_t compute,
                       int32_t weights_on, int32_t next_pass, int64_t pass_tokens, int64_t beside_bytes,
                       duo_task_t *task, duo_model_t **model) {
  return guard_task(task, [&](Task &running) {
    ModelConfig checked = check_config(config);
    bool is_cuda;
    OpenOptions options = parse_device(device, num_threads, weight_dtype, compute, &is_cuda);
    parse_placement(weights_on, next_pass, pass_tokens, beside_bytes, is_cuda, &options);
    require(model, "model");
    require(shard_paths, "shard_paths");
    require_range("num_shards", num_shards, 1, 4096);
    if (!is_cuda && weight_dtype != DUO_DTYPE_STORED) {
      fail(DUO_STATUS_UNSUPPORTED,
           "Expected a CUDA device for `weight_dtype` code `%d`, got a CPU, which has weights as they are stored",
           weight_dtype);
    }
    std::vector<std::string> paths;
    for (int32_t i = 0; i < num_shards; i++) paths.emplace_back(require(shard_paths[i], "shard_paths[i]"));
    const auto weights = open_weight_files(checked, paths, running);
    if (!weights->rope_factors().empty() && checked.rope_type != DUO_ROPE_NONE) {
      fail(DUO_STATUS_FORMAT,
           "Expected no rope scaling beside `rope_freqs.weight` of `%.500s`, got DUO_ROPE_ code `%d`",
           paths.front().c_str(), checked.rope_type);
    }
    checked.rope_factors = weights->rope_factors();
    *model = model_table().insert(open_model(checked, weights, options, is_cuda, running));
  });
}

int32_t duo_model_open_random(const duo_model_config_t *config, uint64_t seed, const char *device, int32_t num_threads,
                              int32_t weight_dtype, int32_t compute, int32_t weights_on, int32_t next_pass,
                              int64_t pass_tokens, int64_t beside_bytes, int32_t distinct_layers, duo_task_t *task,
                              duo_model_t **model) {
  return guard_task(task, [&](Task &running) {
    const ModelConfig checked = check_config(config);
    require_range("distinct_layers", distinct_layers, 0, checked.layers);
    bool is_cuda;
    OpenOptions options = parse_device(device, num_threads, weight_dtype, compute, &is_cuda);
    parse_placement(weights_on, next_pass, pass_tokens, beside_bytes, is_cuda, &options);
    require(model, "model");
    const Dtype host_dtype = options.weight_dtype == Dtype::f32 ? Dtype::f32 : Dtype::bf16;
    if (weight_dtype != DUO_DTYPE_F32 && weight_dtype != DUO_DTYPE_BF16 &&
        !(is_cuda && (weight_dtype == DUO_DTYPE_INT8 || weight_dtype == DUO_DTYPE_INT4))) {
      fail(DUO_STATUS_UNSUPPORTED,
           "Expected `weight_dtype` of random weights to be F32 or BF16, or on CUDA INT8 or INT4, got code `%d`",
           weight_dtype);
    }
    *model = model_table().insert(open_model(
        checked, make_random_weights(checked, seed, host_dtype, running, distinct_layers), options, is_cuda, running));
  });
}

int32_t duo_model_close(duo_model_t *model) {
  return guard([&] { model_table().remove(model, "model"); });
}

int32_t duo_model_device(duo_model_t *model, char *text, int64_t text_bytes) {
  return guard([&] { copy_text(model_table().find(model, "model")->device(), text, text_bytes); });
}

int32_t duo_model_memory(duo_model_t *model, int64_t *weight_bytes, int64_t *workspace_bytes) {
  return guard([&] {
    const auto found = model_table().find(model, "model");
    *require(weight_bytes, "weight_bytes") = found->weight_bytes();
    *require(workspace_bytes, "workspace_bytes") = found->workspace_bytes();
  });
}

int32_t duo_model_streamed(duo_model_t *model, int64_t *pass_bytes, int64_t *pinned_bytes, int64_t *device_bytes,
                           int64_t *copied_bytes) {
  return guard([&] {
    const StreamedWeights streamed = model_table().find(model, "model")->streamed_weights();
    *require(pass_bytes, "pass_bytes") = streamed.pass_bytes;
    *require(pinned_bytes, "pinned_bytes") = streamed.pinned_bytes;
    *require(device_bytes, "device_bytes") = streamed.device_bytes;
    *require(copied_bytes, "copied_bytes") = streamed.copied_bytes;
  });
}

int32_t duo_distill_estimate(duo_model_t *model, int64_t num_tokens, int64_t num_positions, const int64_t *windows,
                             int64_t sink_tokens, int64_t *memory_bytes, double *operations) {
  return guard([&] {
    const auto found = model_table().find(model, "model");
    require_range("num_tokens", num_tokens, 1, int64_t{1} << 30);
    require_range("num_positions", num_positions, 1, num_tokens);
    const BranchWindows branches(windows, found->config().num_gates(), sink_tokens);
    found->estimate_distill(num_tokens, num_positions, branches.view(), require(memory_bytes, "memory_bytes"),
                            require(operations, "operations"));
  });
}

int32_t duo_distill(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                    int64_t num_positions, const float *gates, const int64_t *windows, int64_t sink_tokens,
                    int32_t flags, duo_task_t *task, double *loss, float *gradient) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    const ModelConfig &config = found->config();
    const Passage passage = require_passage(config, tokens, num_tokens, positions, num_positions);
    require_gates("gates", gates, config.num_gates());
    const BranchWindows branches(gates, windows, config.num_gates(), sink_tokens);
    require_range("flags", flags, 0, DUO_DISTILL_TEACHER_BRANCH | DUO_DISTILL_KL);
    require(loss, "loss");
    require(gradient, "gradient");
    found->distill(passage, gates, branches.view(), flags, running, loss, gradient);
    if (!std::isfinite(*loss)) fail(DUO_STATUS_NUMERIC, "Expected `loss` to come out finite, got `%g`", *loss);
    require_finite("gradient", gradient, config.num_gates());
  });
}

int32_t duo_evaluate(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                     const int32_t *targets, int64_t num_positions, const float *gates, const int64_t *windows,
                     int64_t sink_tokens, duo_task_t *task, float *log_probs, int32_t *predictions) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    const ModelConfig &config = found->config();
    const Passage passage = require_passage(config, tokens, num_tokens, positions, num_positions);
    require_tokens("targets", targets, num_positions, config.vocab);
    if (gates != nullptr) require_gates("gates", gates, config.num_gates());
    const BranchWindows branches(gates, windows, config.num_gates(), sink_tokens);
    require(log_probs, "log_probs");
    require(predictions, "predictions");
    found->evaluate(passage, targets, gates, branches.view(), running, log_probs, predictions);
    require_finite("log_probs", log_probs, num_positions);
  });
}

int32_t duo_hidden(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                   int64_t num_positions, const float *gates, const int64_t *windows, int64_t sink_tokens,
                   duo_task_t *task, float *hidden) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    const ModelConfig &config = found->config();
    const Passage passage = require_passage(config, tokens, num_tokens, positions, num_positions);
    if (gates != nullptr) require_gates("gates", gates, config.num_gates());
    const BranchWindows branches(gates, windows, config.num_gates(), sink_tokens);
    found->hidden(passage, gates, branches.view(), running, require(hidden, "hidden"));
    require_finite("hidden", hidden, num_positions * config.hidden);
  });
}

int32_t duo_logits(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                   int64_t num_positions, const float *gates, const int64_t *windows, int64_t sink_tokens,
                   duo_task_t *task, float *logits) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    const ModelConfig &config = found->config();
    const Passage passage = require_passage(config, tokens, num_tokens, positions, num_positions);
    if (gates != nullptr) require_gates("gates", gates, config.num_gates());
    const BranchWindows branches(gates, windows, config.num_gates(), sink_tokens);
    found->logits(passage, gates, branches.view(), running, require(logits, "logits"));
    require_finite("logits", logits, num_positions * config.vocab);
  });
}

int32_t duo_probe(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                  int64_t num_positions, const float *base_gates, const float *probe_gates, int32_t head_begin,
                  int32_t head_end, const int64_t *windows, int64_t sink_tokens, duo_task_t *task, float *differences) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    const ModelConfig &config = found->config();
    const Passage passage = require_passage(config, tokens, num_tokens, positions, num_positions);
    require_gates("base_gates", base_gates, config.num_gates());
    require_gates("probe_gates", probe_gates, config.num_gates());
    require_range("head_begin", head_begin, 0, config.num_gates() - 1);
    require_range("head_end", head_end, int64_t{head_begin} + 1, config.num_gates());
    const BranchWindows branches(base_gates, windows, config.num_gates(), sink_tokens);
    found->probe(passage, base_gates, probe_gates, head_begin, head_end, branches.view(), running,
                 require(differences, "differences"));
    require_finite("differences", differences, (int64_t{head_end} - head_begin) * num_positions * config.hidden);
  });
}

int32_t duo_sketch(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                   int64_t num_positions, const float *base_gates, const int64_t *base_windows, const float *vectors,
                   int64_t num_vectors, const int64_t *windows, int64_t num_windows, int64_t sink_tokens,
                   duo_task_t *task, float *products) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    const ModelConfig &config = found->config();
    const Passage passage = require_passage(config, tokens, num_tokens, positions, num_positions);
    require_range("num_vectors", num_vectors, 1, 4096);
    require_range("num_windows", num_windows, 1, 4096);
    require(windows, "windows");
    for (int64_t i = 0; i < num_windows; i++) require_window(sink_tokens, windows[i]);
    require_finite("vectors", require(vectors, "vectors"), num_vectors * num_positions * config.hidden);
    require_gates("base_gates", base_gates, config.num_gates());
    for (int64_t i = 0; i < config.num_gates(); i++) {
      if (base_gates[i] == 0.0f || base_gates[i] == 1.0f) continue;
      fail(DUO_STATUS_ARGUMENT, "Expected `base_gates[%" PRId64 "]` to be 0 or 1, got `%g`", i,
           static_cast<double>(base_gates[i]));
    }
    const BranchWindows branches(base_gates, base_windows, config.num_gates(), sink_tokens);
    found->sketch(passage, base_gates, branches.view(), vectors, num_vectors, windows, num_windows, sink_tokens,
                  running, require(products, "products"));
    // A head that streams in the base has nothing to close.
    for (int64_t i = 0; i < num_vectors * config.num_gates(); i++) {
      if (base_gates[i % config.num_gates()] == 0.0f) std::fill_n(products + i * num_windows, num_windows, 0.0f);
    }
    require_finite("products", products, num_vectors * config.num_gates() * num_windows);
  });
}

int32_t duo_kl_features(duo_model_t *model, const float *reference, const float *anchor, int64_t num_positions,
                        const float *changes, int64_t num_changes, duo_task_t *task, float *features) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    require_range("num_changes", num_changes, 1, int64_t{1} << 24);
    require_kl_point(found->config(), reference, anchor, num_positions);
    found->use_kl_metric(reference, anchor, num_positions, running, [&](const KlMetric &metric) {
      metric.project(require(changes, "changes"), num_changes, require(features, "features"));
    });
    require_finite("features", features, num_changes * num_positions * count_kl_features(found->config().vocab));
  });
}

int32_t duo_kl_vectors(duo_model_t *model, const float *reference, const float *anchor, int64_t num_positions,
                       const float *vectors, int64_t num_vectors, duo_task_t *task, float *hidden_vectors) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    require_range("num_vectors", num_vectors, 1, int64_t{1} << 24);
    require_kl_point(found->config(), reference, anchor, num_positions);
    found->use_kl_metric(reference, anchor, num_positions, running, [&](const KlMetric &metric) {
      metric.pull_back(require(vectors, "vectors"), num_vectors, require(hidden_vectors, "hidden_vectors"));
    });
    require_finite("hidden_vectors", hidden_vectors, num_vectors * num_positions * found->config().hidden);
  });
}

int32_t duo_attention(duo_model_t *model, const int32_t *tokens, int64_t num_tokens, const int32_t *positions,
                      int64_t num_positions, const int32_t *key_ranges, duo_task_t *task, float *masses,
                      int32_t *top_keys, float *mean_queries, float *mean_keys) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    const ModelConfig &config = found->config();
    const Passage passage = require_passage(config, tokens, num_tokens, positions, num_positions);
    const bool reads_keys = key_ranges != nullptr || masses != nullptr || top_keys != nullptr,
               means = mean_queries != nullptr || mean_keys != nullptr;
    if (reads_keys || !means) {
      require(key_ranges, "key_ranges"), require(masses, "masses"), require(top_keys, "top_keys");
      for (int64_t i = 0; i < num_positions; i++) {
        const int32_t begin = key_ranges[2 * i], end = key_ranges[2 * i + 1];
        if (begin >= 0 && begin <= end && end <= num_tokens) continue;
        fail(DUO_STATUS_ARGUMENT,
             "Expected `key_ranges[%" PRId64 "]` to lie within 0 to %" PRId64 ", begin before end, got `%d` to `%d`", i,
             num_tokens, begin, end);
      }
    }
    if (means) require(mean_queries, "mean_queries"), require(mean_keys, "mean_keys");
    found->attention(passage, {key_ranges, masses, top_keys, mean_queries, mean_keys}, running);
    if (reads_keys) require_finite("masses", masses, num_positions * config.layers * config.heads);
    if (means) {
      require_finite("mean_queries", mean_queries, config.layers * config.query_width());
      require_finite("mean_keys", mean_keys, config.layers * config.kv_width());
    }
  });
}

int32_t duo_gram(duo_model_t *model, const float *a, int64_t num_a, const float *b, int64_t num_b, int64_t length,
                 double scale, duo_task_t *task, double *gram, int64_t gram_stride) {
  return guard_task(task, [&](Task &running) {
    const auto found = model_table().find(model, "model");
    require_range("num_a", num_a, 1, int64_t{1} << 19);
    require_range("num_b", num_b, 1, int64_t{1} << 24);
    require_range("length", length, 1, int64_t{1} << 40);
    require_range("gram_stride", gram_stride, num_b, int64_t{1} << 32);
    if (!std::isfinite(scale)) fail(DUO_STATUS_ARGUMENT, "Expected `scale` to be finite, got `%g`", scale);
    found->gram(require(a, "a"), num_a, require(b, "b"), num_b, length, scale, running, require(gram, "gram"),
                gram_stride);
  });
}
