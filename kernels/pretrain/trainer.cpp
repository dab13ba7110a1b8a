// AdamW over the flat parameter array, the learning-rate course, and the finite-difference check.
#include "trainer.h"

#include <algorithm>
#include <cmath>
#include <thread>

namespace pretrain {
namespace {

constexpr int64_t kShards = 2;  // fixed: shard gradients are summed in order whatever the number of threads
constexpr float kBeta1 = 0.9f, kBeta2 = 0.98f, kEpsilon = 1e-8f, kClip = 1.0f;

float learning_rate_at(int64_t step, int64_t steps, const TrainOptions &o) {
  if (step < o.warmup_steps) return o.learning_rate * static_cast<float>(step + 1) / static_cast<float>(o.warmup_steps);
  const float done = static_cast<float>(step) / static_cast<float>(steps);
  if (done < o.constant_share) return o.learning_rate;
  return o.learning_rate * (1.0f - (1.0f - o.final_rate) * (done - o.constant_share) / (1.0f - o.constant_share));
}

double total_weight(const Batch &batch) {
  double sum = 0;
  for (int64_t i = 0; i < batch.sequences * batch.length; i++) {
    if (i % batch.length != 0) sum += batch.weights[i];
  }
  return sum;
}

/* Gradient and score of the shards, on up to `threads` threads. */
void run_shards(const Shape &shape, const std::vector<float> &parameters, const Batch &batch, int threads,
                std::vector<Activations> &kept, std::vector<std::vector<float>> &gradients,
                std::vector<Score> &scores) {
  const float scale = static_cast<float>(1.0 / std::max(total_weight(batch), 1e-9));
  const auto run = [&](int64_t shard) {
    const int64_t first = batch.sequences * shard / kShards, last = batch.sequences * (shard + 1) / kShards;
    std::fill(gradients[shard].begin(), gradients[shard].end(), 0.0f);
    scores[shard] = {};
    if (first == last) return;
    run_forward(shape, parameters.data(), batch, first, last, {}, scale, kept[shard], scores[shard]);
    run_backward(shape, parameters.data(), batch, first, last, kept[shard], gradients[shard].data());
  };
  if (threads <= 1) {
    for (int64_t shard = 0; shard < kShards; shard++) run(shard);
    return;
  }
  std::vector<std::thread> workers;
  for (int64_t shard = 1; shard < kShards; shard++) workers.emplace_back(run, shard);
  run(0);
  for (std::thread &worker : workers) worker.join();
}

/* splitmix64 as floats in (-1, 1): the check needs directions, not quality. */
struct Noise {
  uint64_t state;
  float next() {
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return static_cast<float>(static_cast<int64_t>(z ^ (z >> 31))) * 1.0842021724855044e-19f;
  }
};

}  // namespace

void train(const Shape &shape, std::vector<float> &parameters, int64_t steps, const TrainOptions &options,
           const std::function<bool(Batch &)> &next, const std::function<void(const StepReport &)> &report) {
  const size_t size = parameters.size();
  std::vector<float> mean(size, 0.0f), square(size, 0.0f);
  std::vector<uint8_t> decays(size, 0);
  for (const Tensor &tensor : list_tensors(shape)) {
    if (tensor.rows > 1) std::fill_n(decays.begin() + tensor.offset, tensor.rows * tensor.columns, uint8_t{1});
  }
  std::vector<Activations> kept(kShards);
  std::vector<std::vector<float>> gradients(kShards, std::vector<float>(size));
  std::vector<Score> scores(kShards);
  Batch batch;
  for (int64_t step = 0; step < steps && next(batch); step++) {
    run_shards(shape, parameters, batch, options.threads, kept, gradients, scores);
    std::vector<float> &gradient = gradients[0];
    for (int64_t shard = 1; shard < kShards; shard++) {
      for (size_t i = 0; i < size; i++) gradient[i] += gradients[shard][i];
    }
    double squares = 0;
    for (size_t i = 0; i < size; i++) squares += static_cast<double>(gradient[i]) * gradient[i];
    const double norm = std::sqrt(squares);
    const float clip = norm > kClip ? static_cast<float>(kClip / norm) : 1.0f;
    const float rate = learning_rate_at(step, steps, options);
    const float correct1 = static_cast<float>(1.0 / (1.0 - std::pow(kBeta1, step + 1)));
    const float correct2 = static_cast<float>(1.0 / (1.0 - std::pow(kBeta2, step + 1)));
#pragma omp simd
    for (size_t i = 0; i < size; i++) {
      const float g = gradient[i] * clip;
      mean[i] = kBeta1 * mean[i] + (1.0f - kBeta1) * g;
      square[i] = kBeta2 * square[i] + (1.0f - kBeta2) * g * g;
      const float decay = decays[i] ? options.weight_decay * parameters[i] : 0.0f;
      parameters[i] -= rate * (mean[i] * correct1 / (std::sqrt(square[i] * correct2) + kEpsilon) + decay);
    }
    Score sum;
    for (const Score &score : scores) {
      sum.weighted_loss += score.weighted_loss;
      sum.weight += score.weight;
      sum.right += score.right;
      sum.total += score.total;
    }
    report({step, sum.weighted_loss / sum.weight, sum.total ? static_cast<double>(sum.right) / sum.total : 0.0, norm,
            rate, batch.sequences * batch.length});
  }
}

double check_gradients(const Shape &shape, std::FILE *out) {
  const Layout layout = make_layout(shape);
  Noise noise{1};
  std::vector<float> parameters(layout.size);
  for (float &value : parameters) value = 0.5f * noise.next();
  Batch batch;
  batch.sequences = 3;
  batch.length = 53;  // one block of query rows and a part
  for (int64_t i = 0; i < batch.sequences * batch.length; i++) {
    batch.tokens.push_back(static_cast<uint16_t>((noise.next() + 1.0f) * 0.5f * static_cast<float>(shape.vocab - 1)));
    batch.positions.push_back(static_cast<uint16_t>(i % batch.length + 7 * (i % batch.length > 20)));
    batch.weights.push_back(i % batch.length == 0 ? 0.0f : (i % 3 == 0 ? 2.0f : 0.2f));
  }
  std::vector<Activations> kept(kShards);
  std::vector<std::vector<float>> gradients(kShards, std::vector<float>(layout.size));
  std::vector<Score> scores(kShards);
  run_shards(shape, parameters, batch, 1, kept, gradients, scores);
  std::vector<float> gradient = gradients[0];
  for (int64_t i = 0; i < layout.size; i++) gradient[i] += gradients[1][i];
  const auto loss_at = [&](const Tensor &tensor, const std::vector<float> &direction, float amount) {
    std::vector<float> moved = parameters;
    for (int64_t i = 0; i < tensor.rows * tensor.columns; i++) moved[tensor.offset + i] += amount * direction[i];
    Score score;
    Activations scratch;
    run_forward(shape, moved.data(), batch, 0, batch.sequences, {}, 0.0f, scratch, score);
    return score.weighted_loss / score.weight;
  };
  double worst = 0;
  for (const Tensor &tensor : list_tensors(shape)) {
    const int64_t count = tensor.rows * tensor.columns;
    const float *own = gradient.data() + tensor.offset;
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += static_cast<double>(own[i]) * own[i];
    const double norm = std::sqrt(squares);
    for (const double mix : {0.0, 1.0}) {
      std::vector<float> direction(count);
      double expected = 0;
      for (int64_t i = 0; i < count; i++) {
        direction[i] =
            static_cast<float>(own[i] / norm + mix * noise.next() * std::sqrt(3.0 / static_cast<double>(count)));
        expected += static_cast<double>(direction[i]) * own[i];
      }
      const float step = 1e-2f;
      const double found = (loss_at(tensor, direction, step) - loss_at(tensor, direction, -step)) / (2.0 * step);
      const double error = std::fabs(found - expected) / norm;
      std::fprintf(out, "%s mix %.0f: backward %.6f difference %.6f relative %.2e\n", tensor.name.c_str(), mix,
                   expected, found, error);
      worst = std::max(worst, error);
    }
  }
  return worst;
}

}  // namespace pretrain
