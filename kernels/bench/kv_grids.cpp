// What ways of rounding cached keys and values cost a model: log-probabilities of the tokens of texts, with keys and
// values rounded and read back before attention, which itself is computed in f32. One prefill a text, as sessions prefill:
// every query reads rounded keys. bench/kv-grids.ts draws the texts, starts this and prints its table.
//   duo_kv_grids --weights file | --random seed --tokens file --length T --scored n --threads n field=value … -- grid …
//     tokens: int32, texts of T one after another      field: of duo_model_config_t      grid: see read_grid
// Prints a JSON array, per text and grid [sum of log p, sum of |log p − that of the first grid|, tokens] of all tokens, then of the last
// `scored`.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/weight_map.h"
#include "cpu/cpu_model.h"
#include "cpu/kv_cache.h"
#include "cpu/kv_vectors.h"
#include "cpu/layer_ops.h"
#include "cpu/scratch.h"
#include "cpu/session_attention.h"

using namespace duo;

namespace {

constexpr int64_t LOGIT_ROWS = 64;
// Left out of means: the first tokens' keys are unlike all others (attention sinks).
constexpr int64_t SKIPPED_TOKENS = 4;

enum class Mean { none, after_rope, before_rope };
enum class Smoothing { none, pairs, channels };

struct Grid {
  int key_bits = 32, value_bits = 32;  // 4 and 8 as sessions have them (kv_vectors.h), 32: exact, others affine
  int64_t group = 0;                   // channels that share a scale; 0: the head vector
  Mean mean = Mean::none;              // of the first keys, taken from all: before RoPE it turns with the position
  Smoothing smoothing = Smoothing::none;
  int64_t first = 512;  // tokens that means and sizes are taken of
  int64_t exact = 0;    // the first tokens' keys and values that are not rounded
  bool rotates = true;
  bool is_shared = false;  // means and factors of all texts are those of the first
};

int64_t parse_number(const std::string &name, const std::string &text, int64_t least, int64_t most) {
  char *end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < least || value > most)
    fail(DUO_STATUS_ARGUMENT, "Expected `%s` to be an integer of %lld to %lld, got `%s`", name.c_str(),
         static_cast<long long>(least), static_cast<long long>(most), text.c_str());
  return value;
}

// f32, or names and values with commas between: keys, values (bits), group, mean (before, after), smooth (pairs,
// channels), first, exact, rotates, shared (0, 1).
Grid read_grid(const std::string &text) {
  Grid grid;
  if (text == "f32") return grid;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size()), equals = text.find('=', at);
    const std::string name = text.substr(at, std::min(equals, end) - at),
                      value = equals < end ? text.substr(equals + 1, end - equals - 1) : "";
    if (name == "keys" || name == "values") {
      (name == "keys" ? grid.key_bits : grid.value_bits) = static_cast<int>(parse_number(name, value, 2, 32));
    } else if (name == "group") {
      grid.group = parse_number(name, value, 2, 256);
    } else if (name == "first") {
      grid.first = parse_number(name, value, SKIPPED_TOKENS + 1, int64_t{1} << 30);
    } else if (name == "exact") {
      grid.exact = parse_number(name, value, 0, int64_t{1} << 30);
    } else if (name == "rotates" || name == "shared") {
      (name == "rotates" ? grid.rotates : grid.is_shared) = parse_number(name, value, 0, 1) == 1;
    } else if (name == "mean" && (value == "before" || value == "after")) {
      grid.mean = value == "before" ? Mean::before_rope : Mean::after_rope;
    } else if (name == "smooth" && (value == "pairs" || value == "channels")) {
      grid.smoothing = value == "pairs" ? Smoothing::pairs : Smoothing::channels;
    } else {
      fail(DUO_STATUS_ARGUMENT,
           "Expected a grid of keys=, values=, group=, mean=before|after, smooth=pairs|channels, first=, exact=, "
           "rotates= and shared=, got `%s`",
           text.c_str());
    }
    at = end + 1;
  }
  return grid;
}

// Groups of a head vector, each with its scale.
void round_groups(float *vector, int64_t head_dim, int64_t group, int bits) {
  if (bits == 32) return;
  for (int64_t begin = 0; begin < head_dim; begin += group) {
    float *x = vector + begin;
    const int64_t count = std::min(group, head_dim - begin);
    if (bits == 4 || bits == 8) {
      round_to_cache(bits == 4 ? Dtype::int4 : Dtype::int8, x, count);
      continue;
    }
    float top = 0.0f, bottom = 0.0f;
    for (int64_t d = 0; d < count; d++) top = std::max(top, x[d]), bottom = std::min(bottom, x[d]);
    const float levels = static_cast<float>((int64_t{1} << bits) - 1), step = (top - bottom) / levels;
    if (!(step > 0.0f)) continue;
    const float zero = std::nearbyint(-bottom / step);
    for (int64_t d = 0; d < count; d++)
      x[d] = (std::max(0.0f, std::min(levels, std::nearbyint(x[d] / step) + zero)) - zero) * step;
  }
}

// One layer's queries, keys [T, heads, D] after RoPE and values; cos, sin [T, D/2].
struct LayerVectors {
  int64_t tokens, heads, kv_heads, head_dim;
  const float *query, *cos, *sin;
  float *key, *value;
  float *key_of(int64_t t, int64_t head) const { return key + (t * kv_heads + head) * head_dim; }
};

// "Rotate half" of one vector by its position's angles; direction −1 turns back.
void turn(const float *from, const float *cos, const float *sin, int64_t half, float direction, float *to) {
  for (int64_t d = 0; d < half; d++) {
    const float a = from[d], b = from[d + half], c = cos[d], s = sin[d] * direction;
    to[d] = a * c - b * s;
    to[d + half] = b * c + a * s;
  }
}

// What is taken off the keys of a head, and what their channels are multiplied with afterwards.
struct KeyChange {
  std::vector<float> mean, factor;  // [D]
};

// The mean as it stands at position t, in scratch [D] where it turns.
const float *mean_at(const KeyChange &change, Mean mean, const LayerVectors &layer, int64_t t, float *scratch) {
  const int64_t half = layer.head_dim / 2;
  if (mean != Mean::before_rope) return change.mean.data();
  turn(change.mean.data(), layer.cos + t * half, layer.sin + t * half, half, 1.0f, scratch);
  return scratch;
}

KeyChange measure_head(const Grid &grid, const LayerVectors &layer, int64_t head) {
  const int64_t D = layer.head_dim, half = D / 2, group = layer.heads / layer.kv_heads,
                last = std::min(grid.first, layer.tokens), counted = last - SKIPPED_TOKENS;
  KeyChange change{std::vector<float>(static_cast<size_t>(D)), std::vector<float>(static_cast<size_t>(D), 1.0f)};
  std::vector<float> turned(static_cast<size_t>(D));
  if (grid.mean != Mean::none && counted > 0) {
    std::vector<double> sum(static_cast<size_t>(D));
    for (int64_t t = SKIPPED_TOKENS; t < last; t++) {
      const float *key = layer.key_of(t, head);
      if (grid.mean == Mean::before_rope) {
        turn(key, layer.cos + t * half, layer.sin + t * half, half, -1.0f, turned.data());
        key = turned.data();
      }
      for (int64_t d = 0; d < D; d++) sum[d] += static_cast<double>(key[d]);
    }
    for (int64_t d = 0; d < D; d++) change.mean[d] = static_cast<float>(sum[d] / static_cast<double>(counted));
  }
  if (grid.smoothing == Smoothing::none || counted <= 0) return change;
  std::vector<double> queries(static_cast<size_t>(D)), keys(queries);
  for (int64_t t = SKIPPED_TOKENS; t < last; t++) {
    const float *mean = mean_at(change, grid.mean, layer, t, turned.data()), *key = layer.key_of(t, head);
    for (int64_t d = 0; d < D; d++) keys[d] += std::pow(static_cast<double>(key[d] - mean[d]), 2);
    for (int64_t h = head * group; h < (head + 1) * group; h++) {
      for (int64_t d = 0; d < D; d++)
        queries[d] +=
            std::pow(static_cast<double>(layer.query[(t * layer.heads + h) * D + d]), 2) / static_cast<double>(group);
    }
  }
  for (int64_t d = 0; d < half && grid.smoothing == Smoothing::pairs; d++) {
    queries[d] = queries[d + half] = (queries[d] + queries[d + half]) / 2;
    keys[d] = keys[d + half] = (keys[d] + keys[d + half]) / 2;
  }
  // Rounding's error is spread over all channels alike, and a query weighs it by its own size in each: least where
  // channels of keys have the size √(query · key).
  double all_queries = 0, all_keys = 0;
  for (int64_t d = 0; d < D; d++) all_queries += queries[d], all_keys += keys[d];
  const double floor = 1e-4 / static_cast<double>(D);  // of the mean size: no factor beyond 10 for a dead channel
  for (int64_t d = 0; d < D; d++)
    change.factor[d] =
        static_cast<float>(std::pow((queries[d] + floor * all_queries) / (keys[d] + floor * all_keys), 0.25));
  return change;
}

// Keys and values of one head, rounded in place.
void round_head(const SimdOps &ops, const Grid &grid, const LayerVectors &layer, int64_t head,
                const KeyChange &change) {
  const int64_t D = layer.head_dim;
  std::vector<float> turned(static_cast<size_t>(D));
  const auto round = [&](float *x, int bits) {
    if (grid.rotates) ops.cache->hadamard(x, 1, D);
    round_groups(x, D, grid.group == 0 ? D : grid.group, bits);
    if (grid.rotates) ops.cache->hadamard(x, 1, D);
  };
  for (int64_t t = grid.exact; t < layer.tokens; t++) {
    if (grid.key_bits < 32) {
      float *key = layer.key_of(t, head);
      const float *mean = mean_at(change, grid.mean, layer, t, turned.data());
      for (int64_t d = 0; d < D; d++) key[d] = (key[d] - mean[d]) * change.factor[d];
      round(key, grid.key_bits);
      for (int64_t d = 0; d < D; d++) key[d] = key[d] / change.factor[d] + mean[d];
    }
    if (grid.value_bits < 32) round(layer.value + (t * layer.kv_heads + head) * D, grid.value_bits);
  }
}

// log p [T − 1] of each token of `tokens` [T] but the first. changes [L·G]: measured here, where they are not there yet.
std::vector<double> score(const CpuModel &model, const CpuContext &context, const int32_t *tokens, int64_t T,
                          const Grid &grid, std::vector<KeyChange> &changes) {
  const ModelConfig &config = model.config();
  const int64_t D = config.head_dim, hidden = config.hidden, query_width = config.query_width(),
                kv_width = config.kv_width();
  ScratchBuffer x(T * hidden), normed(T * hidden), query(T * query_width), attended(T * query_width), key(T * kv_width),
      value(T * kv_width), transposed(T * kv_width), rounded(T * kv_width), gate(T * config.intermediate),
      up(T * config.intermediate), cos(T * D / 2), sin(T * D / 2);
  const SessionOptions options{
      std::vector<int64_t>(static_cast<size_t>(config.num_gates())), 0, T, Dtype::f32, false, 0};
  const KvCache cache(config, options);  // empty: the whole text is one chunk
  embed_tokens(context, model.embedding(), tokens, T, x.data());
  fill_rope_tables(compute_rope_frequencies(config, T), 0, T, cos.data(), sin.data());
  for (int64_t index = 0; index < config.layers; index++) {
    const CpuLayer &layer = model.layer(index);
    rms_norm(context, x.data(), layer.input_norm.data(), T, hidden, config.rms_norm_eps, normed.data());
    multiply_linears(context, normed.data(), hidden, T,
                     {{&layer.query, query.data(), query_width, false},
                      {&layer.key, key.data(), kv_width, false},
                      {&layer.value, value.data(), kv_width, false}});
    if (config.qk_norm) {
      rms_norm(context, query.data(), layer.query_norm.data(), T * config.heads, D, config.rms_norm_eps, query.data());
      rms_norm(context, key.data(), layer.key_norm.data(), T * config.kv_heads, D, config.rms_norm_eps, key.data());
    }
    apply_rope(context, query.data(), T, config.heads, D, cos.data(), sin.data(), false);
    apply_rope(context, key.data(), T, config.kv_heads, D, cos.data(), sin.data(), false);
    const LayerVectors vectors{T,          config.heads, config.kv_heads, D,           query.data(),
                               cos.data(), sin.data(),   key.data(),      value.data()};
    context.run(config.kv_heads, [&](int64_t head, int64_t) {
      KeyChange &change = changes[static_cast<size_t>(index * config.kv_heads + head)];
      if (change.mean.empty()) change = measure_head(grid, vectors, head);
      round_head(context.ops, grid, vectors, head, change);
    });
    round_chunk(context, config, Dtype::f32, T, key.data(), value.data(), transposed.data(), rounded.data());
    attend_chunk(context, config, index,
                 {&cache, 0, T, false, query.data(), transposed.data(), rounded.data(), attended.data()});
    multiply_linear(context, layer.output, attended.data(), query_width, T, x.data(), hidden, true);
    rms_norm(context, x.data(), layer.post_attention_norm.data(), T, hidden, config.rms_norm_eps, normed.data());
    multiply_linears(
        context, normed.data(), hidden, T,
        {{&layer.gate, gate.data(), config.intermediate, false}, {&layer.up, up.data(), config.intermediate, false}});
    swiglu(context, gate.data(), up.data(), T, config.intermediate);
    multiply_linear(context, layer.down, gate.data(), config.intermediate, T, x.data(), hidden, true);
  }
  rms_norm(context, x.data(), model.final_norm().data(), T, hidden, config.rms_norm_eps, normed.data());
  ScratchBuffer logits(LOGIT_ROWS * config.vocab);
  std::vector<double> log_probs(static_cast<size_t>(T - 1));
  for (int64_t first = 0; first < T - 1; first += LOGIT_ROWS) {
    const int64_t rows = std::min(LOGIT_ROWS, T - 1 - first);
    multiply_linear(context, model.lm_head(), normed.data() + first * hidden, hidden, rows, logits.data(), config.vocab,
                    false);
    context.run(rows, [&](int64_t row, int64_t) {
      const float *values = logits.data() + row * config.vocab;
      const double best = static_cast<double>(*std::max_element(values, values + config.vocab));
      double sum = 0;
      for (int64_t i = 0; i < config.vocab; i++) sum += std::exp(static_cast<double>(values[i]) - best);
      log_probs[static_cast<size_t>(first + row)] =
          static_cast<double>(values[tokens[first + row + 1]]) - best - std::log(sum);
    });
  }
  return log_probs;
}

ModelConfig make_config(const std::map<std::string, std::string> &fields) {
  duo_model_config_t config{};
  config.struct_bytes = sizeof config;
  std::map<std::string, std::string> left = fields;
  const auto take = [&](const char *name, auto *to) {
    const auto found = left.find(name);
    if (found == left.end()) fail(DUO_STATUS_ARGUMENT, "Expected a field `%s=`", name);
    *to = static_cast<std::remove_reference_t<decltype(*to)>>(std::atof(found->second.c_str()));
    left.erase(found);
  };
#define TAKE(name) take(#name, &config.name)
  TAKE(rms_norm_eps), TAKE(rope_theta), TAKE(rope_factor), TAKE(rope_low_freq_factor), TAKE(rope_high_freq_factor);
  TAKE(rope_beta_fast), TAKE(rope_beta_slow), TAKE(rope_attention_factor), TAKE(rope_original_max_positions);
  TAKE(max_positions), TAKE(layers), TAKE(heads), TAKE(kv_heads), TAKE(head_dim), TAKE(hidden), TAKE(intermediate);
  TAKE(vocab), TAKE(rope_type), TAKE(rope_truncate), TAKE(tied_embeddings), TAKE(qkv_bias), TAKE(output_bias);
  TAKE(mlp_bias), TAKE(qk_norm);
#undef TAKE
  if (!left.empty())
    fail(DUO_STATUS_ARGUMENT, "Expected fields of duo_model_config_t, got `%s=`", left.begin()->first.c_str());
  return check_config(&config);
}

std::vector<int32_t> read_tokens(const std::string &path, int64_t length, int64_t vocab) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<int32_t> tokens(bytes.size() / sizeof(int32_t));
  if (tokens.empty() || tokens.size() % static_cast<size_t>(length) != 0)
    fail(DUO_STATUS_FILE, "Expected int32 texts of %lld tokens in `%s`, got %zu bytes", static_cast<long long>(length),
         path.c_str(), bytes.size());
  std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(int32_t));
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocab)
      fail(DUO_STATUS_ARGUMENT, "Expected tokens of 0 to %lld in `%s`, got %d", static_cast<long long>(vocab - 1),
           path.c_str(), token);
  }
  return tokens;
}

void run(int count, char **arguments) {
  std::map<std::string, std::string> flags, fields;
  std::vector<std::string> paths;
  std::vector<Grid> grids;
  for (int i = 1; i < count; i++) {
    const std::string argument = arguments[i];
    const size_t equals = argument.find('=');
    if (argument == "--") {
      while (++i < count) grids.push_back(read_grid(arguments[i]));
    } else if (argument.rfind("--", 0) == 0 && i + 1 < count) {
      if (argument == "--weights") {
        paths.emplace_back(arguments[++i]);
      } else {
        flags[argument] = arguments[++i];
      }
    } else if (equals != std::string::npos) {
      fields[argument.substr(0, equals)] = argument.substr(equals + 1);
    } else {
      fail(DUO_STATUS_ARGUMENT, "Expected flags with values, fields and, after `--`, grids, got `%s`",
           argument.c_str());
    }
  }
  const bool is_random = flags.count("--random") > 0;
  if (grids.empty() || paths.empty() != is_random)
    fail(DUO_STATUS_ARGUMENT, "Expected --weights or --random and, after `--`, grids");
  const int64_t T = parse_number("--length", flags["--length"], 2, int64_t{1} << 24),
                scored = parse_number("--scored", flags["--scored"], 1, T - 1),
                threads = parse_number("--threads", flags["--threads"], 0, 1024);
  Task task;
  ModelConfig config = make_config(fields);
  const auto weights =
      is_random ? make_random_weights(
                      config, static_cast<uint64_t>(parse_number("--random", flags["--random"], 0, int64_t{1} << 53)),
                      Dtype::f32, task)
                : open_weight_files(config, paths, task);
  config.rope_factors = weights->rope_factors();
  const CpuModel model(config, weights, {0, "", static_cast<int32_t>(threads), Dtype::stored, DUO_COMPUTE_ACCURATE});
  const CpuContext context = model.context();
  const std::vector<int32_t> tokens = read_tokens(flags["--tokens"], T, config.vocab);
  const std::vector<KeyChange> unmeasured(static_cast<size_t>(config.num_gates()));
  std::vector<std::vector<KeyChange>> changes(grids.size(), unmeasured);
  std::printf("[");
  for (int64_t text = 0; text < static_cast<int64_t>(tokens.size()) / T; text++) {
    std::vector<double> exact;
    std::printf(text == 0 ? "[" : ",\n[");
    for (size_t index = 0; index < grids.size(); index++) {
      if (!grids[index].is_shared) changes[index] = unmeasured;
      const std::vector<double> log_probs =
          score(model, context, tokens.data() + text * T, T, grids[index], changes[index]);
      const bool is_first = exact.empty();
      if (is_first) exact = log_probs;
      std::printf(is_first ? "[" : ", [");
      for (const bool is_late : {false, true}) {
        const int64_t begin = is_late ? T - 1 - scored : 0;
        double sum = 0, distance = 0;
        for (auto i = static_cast<size_t>(begin); i < log_probs.size(); i++)
          sum += log_probs[i], distance += std::fabs(log_probs[i] - exact[i]);
        std::printf("%s%.9g, %.9g, %lld", is_late ? ", " : "", sum, distance, static_cast<long long>(T - 1 - begin));
      }
      std::printf("]");
    }
    std::printf("]");
    std::fflush(stdout);
    std::fprintf(stderr, "text %lld of %lld\n", static_cast<long long>(text + 1),
                 static_cast<long long>(static_cast<int64_t>(tokens.size()) / T));
  }
  std::printf("]\n");
}

}  // namespace

int main(int count, char **arguments) {
  try {
    run(count, arguments);
    return 0;
  } catch (const Error &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.status() == DUO_STATUS_ARGUMENT ? 2 : 1;
  }
}
