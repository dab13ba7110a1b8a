// The KL metric against plain fp64 loops: features as they are defined, their squared length against the divergence
// itself, the transpose, and a distillation step's KL loss and gradient against finite differences of it.
#include "check.h"
#include "core/backend.h"
#include "core/weight_map.h"
#include "cpu/cpu_features.h"
#include "cpu/kl_metric.h"

using namespace duo;

namespace {

struct Head {
  int64_t vocab, width;
  std::vector<float> weights;
  Linear linear;
  Head(int64_t vocab_, int64_t width_, double scale, uint64_t seed)
      : vocab(vocab_), width(width_), weights(Random(seed).values(vocab * width, scale)) {
    linear.weight = {reinterpret_cast<const uint8_t *>(weights.data()), Dtype::f32, vocab, width};
  }
  std::vector<double> logits(const float *hidden) const {
    std::vector<double> out(static_cast<size_t>(vocab));
    for (int64_t v = 0; v < vocab; v++) {
      for (int64_t i = 0; i < width; i++)
        out[static_cast<size_t>(v)] +=
            static_cast<double>(weights[static_cast<size_t>(v * width + i)]) * static_cast<double>(hidden[i]);
    }
    return out;
  }
};

std::vector<double> log_softmax(std::vector<double> logits) {
  const double best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double value : logits) sum += std::exp(value - best);
  for (double &value : logits) value -= best + std::log(sum);
  return logits;
}

double divergence(const std::vector<double> &log_p, const std::vector<double> &log_q) {
  double sum = 0;
  for (size_t i = 0; i < log_p.size(); i++) sum += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
  return sum;
}

// The definition: of a change δ, √(p/2)·(δz − mean) of each of the likeliest tokens, then of the rest by its mean.
std::vector<double> plain_features(const Head &head, const float *reference, const float *change) {
  const std::vector<double> log_p = log_softmax(head.logits(reference)), dz = head.logits(change);
  std::vector<size_t> order(log_p.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return log_p[a] > log_p[b]; });
  double mean = 0, rest = 0, rest_mean = 0;
  for (size_t i = 0; i < dz.size(); i++) mean += std::exp(log_p[i]) * dz[i];
  std::vector<double> features;
  for (size_t rank = 0; rank < order.size(); rank++) {
    const double p = std::exp(log_p[order[rank]]), value = dz[order[rank]];
    if (rank < DUO_KL_TOKENS)
      features.push_back(std::sqrt(p / 2) * (value - mean));
    else
      rest += p, rest_mean += p * value;
  }
  features.push_back(rest > 0 ? std::sqrt(rest / 2) * (rest_mean / rest - mean) : 0);
  return features;
}

void test_metric(int64_t vocab, double scale) {
  constexpr int64_t POSITIONS = 67, COUNT = 3, WIDTH = 20;  // more positions than are held at once
  const std::string name = "vocabulary of " + std::to_string(vocab) + ": ";
  const Head head(vocab, WIDTH, scale, 3);
  ThreadPool pool(2);
  Task task;
  const CpuContext context{pool, choose_simd_ops(""), DUO_COMPUTE_ACCURATE, &task};
  Random random(8);
  const auto reference = random.values(POSITIONS * WIDTH, 1), changes = random.values(COUNT * POSITIONS * WIDTH, 0.02);
  const CpuKlMetric metric(context, head.linear, reference.data(), nullptr, POSITIONS);
  const int64_t num_features = count_kl_features(vocab);
  expect(num_features == std::min<int64_t>(DUO_KL_TOKENS, vocab) + 1, name + "features");
  Guarded features(COUNT * POSITIONS * num_features);
  metric.project(changes.data(), COUNT, features.data());
  expect(features.is_intact(), name + "guards of features");
  double worst = 0, worst_kl = 0, below = 1;
  for (int64_t change = 0; change < COUNT; change++) {
    for (int64_t position = 0; position < POSITIONS; position++) {
      const float *at = reference.data() + position * WIDTH,
                  *delta = changes.data() + (change * POSITIONS + position) * WIDTH;
      const float *found = features.data() + (change * POSITIONS + position) * num_features;
      const auto expected = plain_features(head, at, delta);
      worst = worse(worst, measure_agreement(found, expected.data(), num_features));
      std::vector<float> moved(at, at + WIDTH);
      for (int64_t i = 0; i < WIDTH; i++) moved[static_cast<size_t>(i)] += delta[i];
      double length = 0;
      for (int64_t i = 0; i < num_features; i++)
        length += static_cast<double>(found[i]) * static_cast<double>(found[i]);
      const double kl = divergence(log_softmax(head.logits(at)), log_softmax(head.logits(moved.data())));
      worst_kl = worse(worst_kl, std::fabs(length / kl - 1));
      below = std::min(below, length / kl);
    }
  }
  expect_within(worst, 2e-5, name + "features by their definition");
  // The rest's own spread is left out, so that a long tail counts for less.
  expect_within(worst_kl, vocab <= DUO_KL_TOKENS ? 0.1 : 0.3,
                name + "squared lengths against the divergence of a small change");
  // Towards an anchor: its own divergence is exact, and a share of the way is near.
  const auto far = random.values(POSITIONS * WIDTH, 3);
  const CpuKlMetric anchored(context, head.linear, reference.data(), far.data(), POSITIONS),
      still(context, head.linear, reference.data(), reference.data(), POSITIONS);
  std::vector<float> way, part;
  for (size_t i = 0; i < far.size(); i++) way.push_back(far[i] - reference[i]), part.push_back(0.5f * way.back());
  std::vector<float> of_way(static_cast<size_t>(POSITIONS * num_features)), of_part(of_way.size()),
      of_still(of_way.size()), of_plain(of_way.size());
  anchored.project(way.data(), 1, of_way.data());
  anchored.project(part.data(), 1, of_part.data());
  still.project(changes.data(), 1, of_still.data());
  metric.project(changes.data(), 1, of_plain.data());
  expect_within(relative_error(of_still, of_plain), 2e-4, name + "an anchor that is the reference changes nothing");
  double worst_way = 0, sum = 0, expected_sum = 0;
  for (int64_t position = 0; position < POSITIONS; position++) {
    const auto length = [&](const std::vector<float> &from) {
      double total = 0;
      for (int64_t i = 0; i < num_features; i++)
        total += std::pow(static_cast<double>(from[static_cast<size_t>(position * num_features + i)]), 2);
      return total;
    };
    std::vector<float> halfway;
    for (int64_t i = 0; i < WIDTH; i++)
      halfway.push_back(reference[static_cast<size_t>(position * WIDTH + i)] +
                        part[static_cast<size_t>(position * WIDTH + i)]);
    const auto base = log_softmax(head.logits(reference.data() + position * WIDTH));
    worst_way = worse(
        worst_way,
        std::fabs(length(of_way) / divergence(base, log_softmax(head.logits(far.data() + position * WIDTH))) - 1));
    sum += length(of_part), expected_sum += divergence(base, log_softmax(head.logits(halfway.data())));
  }
  expect_within(worst_way, vocab <= DUO_KL_TOKENS ? 1e-5 : 0.2, name + "the divergence of the anchor");
  expect_within(std::fabs(sum / expected_sum - 1), 0.3, name + "divergences halfway, all positions");
  const auto vectors = random.values(2 * POSITIONS * num_features, 1);
  Guarded pulled(2 * POSITIONS * WIDTH);
  metric.pull_back(vectors.data(), 2, pulled.data());
  expect(pulled.is_intact(), name + "guards of vectors");
  double worst_product = 0;
  for (int64_t vector = 0; vector < 2; vector++) {
    for (int64_t change = 0; change < COUNT; change++) {
      double through = 0, direct = 0, size = 0;
      for (int64_t i = 0; i < POSITIONS * num_features; i++) {
        const double product =
            static_cast<double>(vectors[static_cast<size_t>(vector * POSITIONS * num_features + i)]) *
            static_cast<double>(features.data()[change * POSITIONS * num_features + i]);
        through += product, size += std::fabs(product);
      }
      for (int64_t i = 0; i < POSITIONS * WIDTH; i++) {
        direct += static_cast<double>(pulled.data()[vector * POSITIONS * WIDTH + i]) *
                  static_cast<double>(changes[static_cast<size_t>(change * POSITIONS * WIDTH + i)]);
      }
      worst_product = worse(worst_product, std::fabs(through - direct) / size);
    }
  }
  expect_within(worst_product, 1e-5, name + "inner products through the transpose");
}

void test_distill() {
  ModelConfig config{};
  config.layers = 2, config.heads = 4, config.kv_heads = 2, config.head_dim = 8, config.hidden = 24,
  config.intermediate = 40, config.vocab = 90;
  config.max_positions = 128, config.rms_norm_eps = 1e-5f, config.rope_theta = 10000, config.rope_type = DUO_ROPE_NONE;
  Task task;
  const auto model = open_cpu_model(config, make_random_weights(config, 5, Dtype::f32, task),
                                    {0, "", 2, Dtype::stored, DUO_COMPUTE_ACCURATE}, task);
  Random random(2);
  std::vector<int32_t> tokens, positions;
  for (int i = 0; i < 110; i++) tokens.push_back(static_cast<int32_t>(random.below(config.vocab)));
  for (int i = 25; i < 110; i++) positions.push_back(i);  // more than are held at once
  const Passage passage{tokens.data(), 110, positions.data(), static_cast<int64_t>(positions.size())};
  const std::vector<int64_t> recent = {5, 9, 7, 6};
  const HeadWindows windows{2, recent.data()};
  const std::vector<float> gates = {0.5f, 0.25f, 0.75f, 0.5f}, ones(4, 1.0f);
  const auto logits = [&](const float *given) {
    std::vector<float> out(positions.size() * static_cast<size_t>(config.vocab));
    model->logits(passage, given, windows, task, out.data());
    return out;
  };
  const auto full = logits(nullptr), gated = logits(gates.data());
  double expected = 0;
  for (size_t row = 0; row < positions.size(); row++) {
    const auto at = [&](const std::vector<float> &from) {
      const auto begin = from.begin() + static_cast<std::ptrdiff_t>(row * static_cast<size_t>(config.vocab));
      return log_softmax(std::vector<double>(begin, begin + config.vocab));
    };
    expected += divergence(at(full), at(gated)) / static_cast<double>(positions.size());
  }
  float gradient[4], unused[4];
  const auto loss_of = [&](const std::vector<float> &given, float *to) {
    double loss = 0;
    model->distill(passage, given.data(), windows, DUO_DISTILL_KL, task, &loss, to);
    return loss;
  };
  expect_within(std::fabs(loss_of(gates, gradient) / expected - 1), 1e-5, "the KL loss against the logits");
  expect_within(loss_of(ones, unused), 1e-9, "the KL loss with all gates 1");
  std::vector<double> differences;
  for (size_t gate = 0; gate < 4; gate++) {
    std::vector<float> above = gates, below = gates;
    above[gate] += 0x1p-7f, below[gate] -= 0x1p-7f;
    differences.push_back((loss_of(above, unused) - loss_of(below, unused)) / 0x1p-6);
  }
  expect_within(relative_error(std::vector<float>(gradient, gradient + 4), differences), 2e-3,
                "its gradient against finite differences");
}

}  // namespace

int main() {
  test_metric(40, 0.8);
  test_metric(255, 0.8);
  test_metric(700, 1.2);
  test_distill();
  return finish("test_kl");
}
