// A plain transformer in fp64 that applies any visibility key by key, and rounds keys and values as a cache would: what
// sessions are held to.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/rope.h"
#include "core/weight_map.h"

namespace duo {

using Matrix = std::vector<double>;

inline double element(const Tensor &tensor, int64_t index) {
  if (tensor.dtype == Dtype::f32) {
    float value;
    std::memcpy(&value, tensor.data + index * 4, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, tensor.data + index * 2, 2);
  return tensor.dtype == Dtype::bf16 ? bf16_to_float(half) : f16_to_float(half);
}

inline Matrix multiply(const WeightMap &weights, const std::string &name, const Matrix &x, int64_t rows, bool bias) {
  const Tensor &w = weights.get(name + ".weight");
  Matrix y(static_cast<size_t>(rows * w.rows));
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t o = 0; o < w.rows; o++) {
      double sum = bias ? element(weights.get(name + ".bias"), o) : 0.0;
      for (int64_t i = 0; i < w.columns; i++)
        sum += x[static_cast<size_t>(r * w.columns + i)] * element(w, o * w.columns + i);
      y[static_cast<size_t>(r * w.rows + o)] = sum;
    }
  }
  return y;
}

inline Matrix normalize(const Matrix &x, const Tensor &weight, int64_t width, double eps) {
  Matrix y(x.size());
  for (size_t row = 0; row < x.size() / static_cast<size_t>(width); row++) {
    double sum = 0;
    for (int64_t i = 0; i < width; i++) sum += x[row * width + i] * x[row * width + i];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(width) + eps);
    for (int64_t i = 0; i < width; i++) y[row * width + i] = x[row * width + i] * scale * element(weight, i);
  }
  return y;
}

// The orthonormal Walsh–Hadamard transform of each of the vectors [rows, D], by its definition: blocks of the largest
// powers of two, entry (i, j) of a block of n is (−1)^|i ∧ j|/√n.
inline void transform_vectors(Matrix &vectors, int64_t head_dim) {
  for (size_t at = 0; at < vectors.size();) {
    for (int64_t left = head_dim, size = 0; left > 0; left -= size, at += static_cast<size_t>(size)) {
      for (size = 1; 2 * size <= left;) size *= 2;
      Matrix out(static_cast<size_t>(size));
      for (int64_t i = 0; i < size; i++) {
        for (int64_t j = 0; j < size; j++)
          out[i] += (__builtin_popcountll(static_cast<unsigned long long>(i & j)) % 2 == 0 ? 1 : -1) * vectors[at + j];
      }
      for (int64_t i = 0; i < size; i++) vectors[at + i] = out[i] / std::sqrt(static_cast<double>(size));
    }
  }
}

// x to `bits` significant bits, ties to even; steps of at least 2^least.
inline double round_significand(double x, int bits, int least) {
  int exponent;
  std::frexp(x, &exponent);
  const int step = std::max(exponent - bits, least);
  return std::ldexp(std::nearbyint(std::ldexp(x, -step)), step);
}

// What a cache of this dtype keeps of the vectors [rows, D]: written here anew, from the definition in duo.h.
inline void round_vectors(Dtype kv, Matrix &vectors, int64_t head_dim) {
  for (size_t at = 0; kv != Dtype::f32 && at < vectors.size(); at += static_cast<size_t>(head_dim)) {
    float top = 0, bottom = 0;
    for (int64_t d = 0; d < head_dim; d++) {
      top = std::max(top, static_cast<float>(vectors[at + d]));
      bottom = std::min(bottom, static_cast<float>(vectors[at + d]));
    }
    const float largest = std::max(top, -bottom);
    const double scale = round_significand((top - bottom) / 15.0f, 11, -24),
                 zero = scale == 0 ? 0 : std::nearbyint(-bottom / scale);
    for (int64_t d = 0; d < head_dim; d++) {
      const float value = static_cast<float>(vectors[at + d]);
      double &out = vectors[at + d];
      if (kv == Dtype::bf16)
        out = round_significand(value, 8, -133);
      else if (largest == 0 || (kv == Dtype::int4 && scale == 0))
        out = 0;
      else if (kv == Dtype::int8)
        out = std::nearbyint(value / (largest / 127.0f)) * (largest / 127.0f);
      else if (kv == Dtype::fp8)
        out = round_significand(value / (largest / 448.0f), 4, -9) * (largest / 448.0f);
      else
        out = (std::min(15.0, std::max(0.0, std::nearbyint(value / scale) + std::min(15.0, zero))) -
               std::min(15.0, zero)) *
              scale;
    }
  }
}

// Hidden states [T, C] after the final norm, in fp64; visible(layer, head, i, j) says which keys a query sees. A head
// whose gate(layer, head) is not 1 mixes what it sees so with what it sees by narrow(layer, head, i, j).
template <typename Visible, typename Gate, typename Narrow>
Matrix reference_hidden(const ModelConfig &config, const WeightMap &weights, const std::vector<int32_t> &tokens,
                        Dtype kv, bool rotates_kv, const Visible &visible, const Gate &gate_of, const Narrow &narrow) {
  const int64_t T = static_cast<int64_t>(tokens.size()), C = config.hidden, D = config.head_dim, H = config.heads,
                G = config.kv_heads;
  Matrix x(static_cast<size_t>(T * C));
  for (int64_t t = 0; t < T; t++) {
    for (int64_t i = 0; i < C; i++) x[t * C + i] = element(weights.get("model.embed_tokens.weight"), tokens[t] * C + i);
  }
  std::vector<float> cos(static_cast<size_t>(T * D / 2)), sin(cos.size());
  fill_rope_tables(compute_rope_frequencies(config, config.max_positions), 0, T, cos.data(), sin.data());
  const auto rotate = [&](Matrix &q, int64_t heads) {
    for (int64_t t = 0; t < T; t++) {
      for (int64_t h = 0; h < heads; h++) {
        double *row = q.data() + (t * heads + h) * D;
        for (int64_t i = 0; i < D / 2; i++) {
          const double a = row[i], b = row[i + D / 2], c = cos[t * D / 2 + i], s = sin[t * D / 2 + i];
          row[i] = a * c - b * s;
          row[i + D / 2] = b * c + a * s;
        }
      }
    }
  };
  for (int64_t layer = 0; layer < config.layers; layer++) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    const Matrix normed = normalize(x, weights.get(at + "input_layernorm.weight"), C, config.rms_norm_eps);
    Matrix q = multiply(weights, at + "self_attn.q_proj", normed, T, config.qkv_bias),
           k = multiply(weights, at + "self_attn.k_proj", normed, T, config.qkv_bias);
    Matrix v = multiply(weights, at + "self_attn.v_proj", normed, T, config.qkv_bias);
    if (config.qk_norm) {
      q = normalize(q, weights.get(at + "self_attn.q_norm.weight"), D, config.rms_norm_eps);
      k = normalize(k, weights.get(at + "self_attn.k_norm.weight"), D, config.rms_norm_eps);
    }
    rotate(q, H);
    rotate(k, G);
    for (Matrix *kept : {&k, &v}) {
      if (rotates_kv) transform_vectors(*kept, D);
      round_vectors(kv != Dtype::k8v4 ? kv : kept == &k ? Dtype::int8 : Dtype::int4, *kept, D);
      if (rotates_kv) transform_vectors(*kept, D);
    }
    Matrix attended(static_cast<size_t>(T * H * D));
    for (int64_t i = 0; i < T; i++) {
      for (int64_t h = 0; h < H; h++) {
        const int64_t g = h / (H / G);
        const double weight = gate_of(layer, g);
        for (const bool is_narrow : {false, true}) {
          if (is_narrow && weight == 1) continue;
          std::vector<double> p(static_cast<size_t>(i + 1), -INFINITY);
          double max = -INFINITY, sum = 0;
          for (int64_t j = 0; j <= i; j++) {
            if (!(is_narrow ? narrow(layer, g, i, j) : visible(layer, g, i, j))) continue;
            double score = 0;
            for (int64_t d = 0; d < D; d++) score += q[(i * H + h) * D + d] * k[(j * G + g) * D + d];
            p[j] = score / std::sqrt(static_cast<double>(D));
            max = std::max(max, p[j]);
          }
          for (double &value : p) sum += value = std::exp(value - max);
          const double share = (is_narrow ? 1 - weight : weight) / sum;
          for (int64_t j = 0; j <= i; j++) {
            for (int64_t d = 0; d < D; d++) attended[(i * H + h) * D + d] += p[j] * share * v[(j * G + g) * D + d];
          }
        }
      }
    }
    const Matrix o = multiply(weights, at + "self_attn.o_proj", attended, T, config.output_bias);
    for (size_t i = 0; i < x.size(); i++) x[i] += o[i];
    const Matrix middle = normalize(x, weights.get(at + "post_attention_layernorm.weight"), C, config.rms_norm_eps);
    Matrix gate = multiply(weights, at + "mlp.gate_proj", middle, T, config.mlp_bias);
    const Matrix up = multiply(weights, at + "mlp.up_proj", middle, T, config.mlp_bias);
    for (size_t i = 0; i < gate.size(); i++) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    const Matrix down = multiply(weights, at + "mlp.down_proj", gate, T, config.mlp_bias);
    for (size_t i = 0; i < x.size(); i++) x[i] += down[i];
  }
  return normalize(x, weights.get("model.norm.weight"), C, config.rms_norm_eps);
}

// Logits [T, V] of it.
template <typename Visible>
Matrix reference_logits(const ModelConfig &config, const WeightMap &weights, const std::vector<int32_t> &tokens,
                        Dtype kv, const Visible &visible, bool rotates_kv = false) {
  const Matrix hidden = reference_hidden(
      config, weights, tokens, kv, rotates_kv, visible, [](int64_t, int64_t) { return 1.0; }, visible);
  return multiply(weights, "lm_head", hidden, static_cast<int64_t>(tokens.size()), false);
}

}  // namespace duo
