// A Llama in single precision with its whole backward pass: what the pretrainer needs and nothing more.
// Parameters lie in one flat array, in the order and the [out, in] layout of a Hugging Face checkpoint.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "gemm.h"

namespace pretrain {

struct Shape {
  int64_t layers, hidden, intermediate, heads, kv_heads, head_dim, vocab;
  float rope_theta, norm_epsilon;
};

/* Where the tensors of one layer start in the flat array; `norm1`, `norm2` [hidden], the rest [out, in]. */
struct LayerOffsets {
  int64_t norm1, q, k, v, o, norm2, gate, up, down;
};

struct Layout {
  int64_t embedding;  // [vocab, hidden]
  std::vector<LayerOffsets> layers;
  int64_t norm;  // [hidden]
  int64_t head;  // [vocab, hidden]
  int64_t size;
};

/* One named tensor of the flat array. `rows` × `columns`; a vector has one row. */
struct Tensor {
  std::string name;
  int64_t offset, rows, columns;
};

Layout make_layout(const Shape &shape);
std::vector<Tensor> list_tensors(const Shape &shape);

/* Sequences of equal length, rows one after another. `weights[t]` is the loss weight of predicting token t from the ones before it. */
struct Batch {
  int64_t sequences = 0, length = 0;
  std::vector<uint16_t> tokens;     // [sequences, length]
  std::vector<uint16_t> positions;  // [sequences, length], rotary positions
  std::vector<float> weights;       // [sequences, length]; 0 at the first token of a sequence
};

/* Which KV heads stream: `streams` [layers, kv_heads], empty = none. A streaming head sees key j from query i
 * iff j <= i and (j < sink or i - j < recent), by index in the sequence. */
struct Streaming {
  std::vector<uint8_t> streams;
  int64_t sink = 0, recent = 1;
};

/* Activations one shard keeps between forward and backward. */
struct Activations {
  struct Layer {
    std::vector<float> input, normed1, scale1, q, k, v, attended, log_sum, middle, normed2, scale2, gate, up, product;
  };
  std::vector<Layer> layers;
  std::vector<float> output, normed, scale, logits, cosines, sines;
};

/* Sums over a batch: `weighted_loss` and `weight` over all positions, the rest over answer words, those with weight ≥ 1. */
struct Score {
  double weighted_loss = 0, weight = 0, log_probability = 0;
  int64_t right = 0, total = 0;
};

/* Forward pass over sequences [first, last) of the batch; fills `kept` and adds to `score`. Where `loss_scale` > 0 the
 * logits become the gradient of loss_scale · Σ weight·cross-entropy. */
void run_forward(const Shape &shape, const float *parameters, const Batch &batch, int64_t first, int64_t last,
                 const Streaming &streaming, float loss_scale, Activations &kept, Score &score);

/* Backward pass after run_forward with the same arguments; adds to `gradient` [layout.size]. */
void run_backward(const Shape &shape, const float *parameters, const Batch &batch, int64_t first, int64_t last,
                  Activations &kept, float *gradient);

/* Attention of one sequence, defined in attention.cpp. q, attended [length, heads, head_dim]; k, v [length, kv_heads, head_dim];
 * log_sum [length, heads]: log of the softmax denominators. `streams` [kv_heads] or null. */
void attend(const Shape &shape, int64_t length, const float *q, const float *k, const float *v, const uint8_t *streams,
            int64_t sink, int64_t recent, float *attended, float *log_sum);

/* Gradients of attend without streaming heads; d_q, d_k, d_v are written. */
void attend_backward(const Shape &shape, int64_t length, const float *q, const float *k, const float *v,
                     const float *attended, const float *log_sum, const float *d_attended, float *d_q, float *d_k,
                     float *d_v);

/* e^x for x ≤ 0 within 2 units in the last place, 0 below -87; vectorises, unlike std::exp. */
inline float exp_nonpositive(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * 1.44269504f + 12582912.0f;  // 1.5·2^23: the sum rounds to an integer
  const float whole = shifted - 12582912.0f;
  const float rest = (clamped - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float sum = 1.9875691500e-4f;
  sum = sum * rest + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = sum * rest * rest + rest + 1.0f;
  int32_t bits = (static_cast<int32_t>(whole) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  return x < -87.0f ? 0.0f : sum * power;
}

}  // namespace pretrain
