// Forward and backward pass of the Llama: embedding, RMSNorm, rotary attention, SwiGLU, untied head, weighted
// cross-entropy.
#include "model.h"

#include <algorithm>
#include <cmath>

namespace pretrain {
namespace {

/* y [n, out] = x [n, in] · wᵀ, w [out, in]. */
void project(int64_t n, int64_t out, int64_t in, const float *x, const float *w, float *y) {
  Packed packed;
  packed.pack({w, 1, in}, in, out);
  multiply(n, out, in, {x, in, 1}, packed, y, out, false);
}

/* Backward of project: dx [n, in] += dy · w, dw [out, in] += dyᵀ · x. */
void project_backward(int64_t n, int64_t out, int64_t in, const float *x, const float *w, const float *dy, float *dx,
                      float *dw) {
  Packed packed;
  packed.pack({w, in, 1}, out, in);
  multiply(n, in, out, {dy, out, 1}, packed, dx, in, true);
  packed.pack({x, in, 1}, n, in);
  multiply(out, in, n, {dy, 1, out}, packed, dw, in, true);
}

/* y = x / rms(x) · weight by row; keeps 1/rms in `scale` [n]. */
void normalize(int64_t n, int64_t size, float epsilon, const float *x, const float *weight, float *y, float *scale) {
  for (int64_t i = 0; i < n; i++) {
    const float *row = x + i * size;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < size; c++) sum += row[c] * row[c];
    scale[i] = 1.0f / std::sqrt(sum / static_cast<float>(size) + epsilon);
    for (int64_t c = 0; c < size; c++) y[i * size + c] = row[c] * scale[i] * weight[c];
  }
}

/* Backward of normalize: dx += …, d_weight += … */
void normalize_backward(int64_t n, int64_t size, const float *x, const float *weight, const float *scale,
                        const float *dy, float *dx, float *d_weight) {
  for (int64_t i = 0; i < n; i++) {
    const float *row = x + i * size;
    const float *d = dy + i * size;
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t c = 0; c < size; c++) dot += d[c] * weight[c] * row[c];
    const float pull = dot * scale[i] * scale[i] * scale[i] / static_cast<float>(size);
#pragma omp simd
    for (int64_t c = 0; c < size; c++) {
      dx[i * size + c] += d[c] * weight[c] * scale[i] - row[c] * pull;
      d_weight[c] += d[c] * row[c] * scale[i];
    }
  }
}

/* Rotate the two halves of every head by its position's angles; `direction` -1 is the transpose. */
void rotate(int64_t n, int64_t heads, int64_t dim, const float *cosines, const float *sines, float direction,
            float *x) {
  const int64_t half = dim / 2;
  for (int64_t i = 0; i < n; i++) {
    const float *c = cosines + i * half, *s = sines + i * half;
    for (int64_t h = 0; h < heads; h++) {
      float *low = x + (i * heads + h) * dim, *high = low + half;
#pragma omp simd
      for (int64_t d = 0; d < half; d++) {
        const float a = low[d], b = high[d];
        low[d] = a * c[d] - direction * b * s[d];
        high[d] = b * c[d] + direction * a * s[d];
      }
    }
  }
}

inline float sigmoid(float x) {
  const float small = exp_nonpositive(x < 0.0f ? x : -x);
  return (x < 0.0f ? small : 1.0f) / (1.0f + small);
}

/* product = silu(gate) · up, element by element. */
void multiply_gated(int64_t size, const float *gate, const float *up, float *product) {
#pragma omp simd
  for (int64_t i = 0; i < size; i++) product[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

void multiply_gated_backward(int64_t size, const float *gate, const float *up, const float *d_product, float *d_gate,
                             float *d_up) {
#pragma omp simd
  for (int64_t i = 0; i < size; i++) {
    const float share = sigmoid(gate[i]), silu = gate[i] * share;
    d_up[i] = d_product[i] * silu;
    d_gate[i] = d_product[i] * up[i] * (share + silu * (1.0f - share));
  }
}

void add(std::vector<float> &to, const std::vector<float> &from) {
  for (size_t i = 0; i < to.size(); i++) to[i] += from[i];
}

}  // namespace

std::vector<Tensor> list_tensors(const Shape &s) {
  std::vector<Tensor> tensors;
  int64_t offset = 0;
  const auto take = [&](std::string name, int64_t rows, int64_t columns) {
    tensors.push_back({std::move(name), offset, rows, columns});
    offset += rows * columns;
  };
  take("model.embed_tokens.weight", s.vocab, s.hidden);
  for (int64_t l = 0; l < s.layers; l++) {
    const std::string prefix = "model.layers." + std::to_string(l) + ".";
    take(prefix + "input_layernorm.weight", 1, s.hidden);
    take(prefix + "self_attn.q_proj.weight", s.heads * s.head_dim, s.hidden);
    take(prefix + "self_attn.k_proj.weight", s.kv_heads * s.head_dim, s.hidden);
    take(prefix + "self_attn.v_proj.weight", s.kv_heads * s.head_dim, s.hidden);
    take(prefix + "self_attn.o_proj.weight", s.hidden, s.heads * s.head_dim);
    take(prefix + "post_attention_layernorm.weight", 1, s.hidden);
    take(prefix + "mlp.gate_proj.weight", s.intermediate, s.hidden);
    take(prefix + "mlp.up_proj.weight", s.intermediate, s.hidden);
    take(prefix + "mlp.down_proj.weight", s.hidden, s.intermediate);
  }
  take("model.norm.weight", 1, s.hidden);
  take("lm_head.weight", s.vocab, s.hidden);
  return tensors;
}

Layout make_layout(const Shape &shape) {
  const std::vector<Tensor> tensors = list_tensors(shape);
  Layout layout;
  layout.embedding = 0;
  for (int64_t l = 0; l < shape.layers; l++) {
    const Tensor *t = tensors.data() + 1 + 9 * l;
    layout.layers.push_back({t[0].offset, t[1].offset, t[2].offset, t[3].offset, t[4].offset, t[5].offset, t[6].offset,
                             t[7].offset, t[8].offset});
  }
  layout.norm = tensors[tensors.size() - 2].offset;
  layout.head = tensors.back().offset;
  layout.size = layout.head + shape.vocab * shape.hidden;
  return layout;
}

void run_forward(const Shape &s, const float *parameters, const Batch &batch, int64_t first, int64_t last,
                 const Streaming &streaming, float loss_scale, Activations &kept, Score &score) {
  const Layout layout = make_layout(s);
  const int64_t t = batch.length, n = (last - first) * t, c = s.hidden, half = s.head_dim / 2;
  const int64_t q_size = s.heads * s.head_dim, k_size = s.kv_heads * s.head_dim;
  const uint16_t *tokens = batch.tokens.data() + first * t;
  const uint16_t *positions = batch.positions.data() + first * t;
  const float *weights = batch.weights.data() + first * t;

  kept.cosines.resize(n * half);
  kept.sines.resize(n * half);
  for (int64_t d = 0; d < half; d++) {
    const float frequency = static_cast<float>(1.0 / std::pow(s.rope_theta, 2.0 * d / s.head_dim));
    for (int64_t i = 0; i < n; i++) {
      const float angle = static_cast<float>(positions[i]) * frequency;
      kept.cosines[i * half + d] = std::cos(angle);
      kept.sines[i * half + d] = std::sin(angle);
    }
  }
  std::vector<float> x(n * c), delta(n * c);
  for (int64_t i = 0; i < n; i++) std::copy_n(parameters + layout.embedding + tokens[i] * c, c, x.data() + i * c);
  kept.layers.resize(s.layers);
  for (int64_t l = 0; l < s.layers; l++) {
    const LayerOffsets &at = layout.layers[l];
    Activations::Layer &a = kept.layers[l];
    a.input = x;
    a.normed1.resize(n * c);
    a.scale1.resize(n);
    a.q.resize(n * q_size);
    a.k.resize(n * k_size);
    a.v.resize(n * k_size);
    a.attended.resize(n * q_size);
    a.log_sum.resize(n * s.heads);
    normalize(n, c, s.norm_epsilon, x.data(), parameters + at.norm1, a.normed1.data(), a.scale1.data());
    project(n, q_size, c, a.normed1.data(), parameters + at.q, a.q.data());
    project(n, k_size, c, a.normed1.data(), parameters + at.k, a.k.data());
    project(n, k_size, c, a.normed1.data(), parameters + at.v, a.v.data());
    rotate(n, s.heads, s.head_dim, kept.cosines.data(), kept.sines.data(), 1.0f, a.q.data());
    rotate(n, s.kv_heads, s.head_dim, kept.cosines.data(), kept.sines.data(), 1.0f, a.k.data());
    const uint8_t *streams = streaming.streams.empty() ? nullptr : streaming.streams.data() + l * s.kv_heads;
    for (int64_t b = 0; b < last - first; b++) {
      attend(s, t, a.q.data() + b * t * q_size, a.k.data() + b * t * k_size, a.v.data() + b * t * k_size, streams,
             streaming.sink, streaming.recent, a.attended.data() + b * t * q_size, a.log_sum.data() + b * t * s.heads);
    }
    project(n, c, q_size, a.attended.data(), parameters + at.o, delta.data());
    add(x, delta);
    a.middle = x;
    a.normed2.resize(n * c);
    a.scale2.resize(n);
    a.gate.resize(n * s.intermediate);
    a.up.resize(n * s.intermediate);
    a.product.resize(n * s.intermediate);
    normalize(n, c, s.norm_epsilon, x.data(), parameters + at.norm2, a.normed2.data(), a.scale2.data());
    project(n, s.intermediate, c, a.normed2.data(), parameters + at.gate, a.gate.data());
    project(n, s.intermediate, c, a.normed2.data(), parameters + at.up, a.up.data());
    multiply_gated(n * s.intermediate, a.gate.data(), a.up.data(), a.product.data());
    project(n, c, s.intermediate, a.product.data(), parameters + at.down, delta.data());
    add(x, delta);
  }
  kept.output = x;
  kept.normed.resize(n * c);
  kept.scale.resize(n);
  kept.logits.resize(n * s.vocab);
  normalize(n, c, s.norm_epsilon, x.data(), parameters + layout.norm, kept.normed.data(), kept.scale.data());
  project(n, s.vocab, c, kept.normed.data(), parameters + layout.head, kept.logits.data());
  for (int64_t i = 0; i < n; i++) {
    float *row = kept.logits.data() + i * s.vocab;
    const bool is_last = (i + 1) % t == 0;
    const float weight = is_last ? 0.0f : weights[i + 1];
    if (weight == 0.0f) {
      if (loss_scale > 0.0f) std::fill(row, row + s.vocab, 0.0f);
      continue;
    }
    const int64_t target = tokens[i + 1];
    const int64_t best = std::max_element(row, row + s.vocab) - row;
    const float top = row[best], right = row[target];
    float sum = 0.0f;
    if (loss_scale > 0.0f) {
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < s.vocab; j++) {
        row[j] = exp_nonpositive(row[j] - top);
        sum += row[j];
      }
      const float factor = loss_scale * weight / sum;
      for (int64_t j = 0; j < s.vocab; j++) row[j] *= factor;
      row[target] -= loss_scale * weight;
    } else {
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < s.vocab; j++) sum += exp_nonpositive(row[j] - top);
    }
    const double log_probability = static_cast<double>(right - top) - std::log(static_cast<double>(sum));
    score.weighted_loss -= weight * log_probability;
    score.weight += weight;
    if (weight >= 1.0f) {
      score.log_probability += log_probability;
      score.right += best == target ? 1 : 0;
      score.total++;
    }
  }
}

void run_backward(const Shape &s, const float *parameters, const Batch &batch, int64_t first, int64_t last,
                  Activations &kept, float *gradient) {
  const Layout layout = make_layout(s);
  const int64_t t = batch.length, n = (last - first) * t, c = s.hidden;
  const int64_t q_size = s.heads * s.head_dim, k_size = s.kv_heads * s.head_dim;
  std::vector<float> dx(n * c), d_normed(n * c), d_product(n * s.intermediate), d_gate(n * s.intermediate),
      d_up(n * s.intermediate);
  std::vector<float> d_attended(n * q_size), d_q(n * q_size), d_k(n * k_size), d_v(n * k_size);
  const auto clear = [](std::vector<float> &values) { std::fill(values.begin(), values.end(), 0.0f); };
  project_backward(n, s.vocab, c, kept.normed.data(), parameters + layout.head, kept.logits.data(), d_normed.data(),
                   gradient + layout.head);
  normalize_backward(n, c, kept.output.data(), parameters + layout.norm, kept.scale.data(), d_normed.data(), dx.data(),
                     gradient + layout.norm);
  for (int64_t l = s.layers - 1; l >= 0; l--) {
    const LayerOffsets &at = layout.layers[l];
    Activations::Layer &a = kept.layers[l];
    clear(d_product);
    project_backward(n, c, s.intermediate, a.product.data(), parameters + at.down, dx.data(), d_product.data(),
                     gradient + at.down);
    multiply_gated_backward(n * s.intermediate, a.gate.data(), a.up.data(), d_product.data(), d_gate.data(),
                            d_up.data());
    clear(d_normed);
    project_backward(n, s.intermediate, c, a.normed2.data(), parameters + at.gate, d_gate.data(), d_normed.data(),
                     gradient + at.gate);
    project_backward(n, s.intermediate, c, a.normed2.data(), parameters + at.up, d_up.data(), d_normed.data(),
                     gradient + at.up);
    normalize_backward(n, c, a.middle.data(), parameters + at.norm2, a.scale2.data(), d_normed.data(), dx.data(),
                       gradient + at.norm2);
    clear(d_attended);
    project_backward(n, c, q_size, a.attended.data(), parameters + at.o, dx.data(), d_attended.data(), gradient + at.o);
    for (int64_t b = 0; b < last - first; b++) {
      const int64_t q_at = b * t * q_size, k_at = b * t * k_size;
      attend_backward(s, t, a.q.data() + q_at, a.k.data() + k_at, a.v.data() + k_at, a.attended.data() + q_at,
                      a.log_sum.data() + b * t * s.heads, d_attended.data() + q_at, d_q.data() + q_at,
                      d_k.data() + k_at, d_v.data() + k_at);
    }
    rotate(n, s.heads, s.head_dim, kept.cosines.data(), kept.sines.data(), -1.0f, d_q.data());
    rotate(n, s.kv_heads, s.head_dim, kept.cosines.data(), kept.sines.data(), -1.0f, d_k.data());
    clear(d_normed);
    project_backward(n, q_size, c, a.normed1.data(), parameters + at.q, d_q.data(), d_normed.data(), gradient + at.q);
    project_backward(n, k_size, c, a.normed1.data(), parameters + at.k, d_k.data(), d_normed.data(), gradient + at.k);
    project_backward(n, k_size, c, a.normed1.data(), parameters + at.v, d_v.data(), d_normed.data(), gradient + at.v);
    normalize_backward(n, c, a.input.data(), parameters + at.norm1, a.scale1.data(), d_normed.data(), dx.data(),
                       gradient + at.norm1);
  }
  const uint16_t *tokens = batch.tokens.data() + first * t;
  for (int64_t i = 0; i < n; i++) {
    float *row = gradient + layout.embedding + tokens[i] * c;
    for (int64_t j = 0; j < c; j++) row[j] += dx[i * c + j];
  }
}

}  // namespace pretrain
