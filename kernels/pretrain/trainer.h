// Training loop of the pretrainer: shards on threads, AdamW, gradient check.
#pragma once
#include <cstdio>
#include <functional>

#include "model.h"

namespace pretrain {

struct TrainOptions {
  float learning_rate = 1e-3f;
  float weight_decay = 0.01f;  // on matrices, not on norms
  int64_t warmup_steps = 50;
  float constant_share = 0.6f;  // of all steps at the full rate, then linear down to final_rate of it
  float final_rate = 0.02f;
  int threads = 1;
};

struct StepReport {
  int64_t step;
  double loss;      // weighted mean cross-entropy
  double accuracy;  // share of answer words predicted
  double gradient_norm;
  float learning_rate;
  int64_t tokens;
};

/* Train on the batches that `next` yields (false = no more) for `steps` steps; `parameters` is changed in place.
 * A batch is cut into a fixed number of shards whose gradients are added in order, so that the result does not depend on `threads`. */
void train(const Shape &shape, std::vector<float> &parameters, int64_t steps, const TrainOptions &options,
           const std::function<bool(Batch &)> &next, const std::function<void(const StepReport &)> &report);

/* Largest relative difference, over all tensors, between directional derivatives of the loss by backward pass and by central
 * differences, each along the tensor's own gradient and along a random direction mixed with it. */
double check_gradients(const Shape &shape, std::FILE *out);

}  // namespace pretrain
