// The KL metric of CUDA models against the CPU's, which test_kl.cpp holds to its definition in fp64: inner products of
// features, since tokens that are equally likely but for rounding may change places, and the transpose of the features
// that the device itself gives; with and without an anchor, over more positions than logits are held of at once, vocabularies that are odd
// and smaller than the number of tokens with a feature, a head of its own, tied and int8.
#include "changed_weights.h"
#include "core/backend.h"
#include "core/kl_metric.h"
#include "cuda/cuda_model.h"
#include "cuda_test.h"
#include "model_case.h"

using namespace duo;
using namespace duo::test;

namespace {

constexpr int64_t POSITIONS = 67, COUNT = 5;

// Inner products of the features of all changes, position by position [P, COUNT, COUNT].
std::vector<double> multiply_features(const std::vector<float> &features, int64_t num_features) {
  std::vector<double> out;
  for (int64_t position = 0; position < POSITIONS; position++) {
    for (int64_t pair = 0; pair < COUNT * COUNT; pair++) {
      const float *a = features.data() + (pair / COUNT * POSITIONS + position) * num_features,
                  *b = features.data() + (pair % COUNT * POSITIONS + position) * num_features;
      out.push_back(0);
      for (int64_t i = 0; i < num_features; i++) out.back() += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    }
  }
  return out;
}

// How far inner products of `vectors` with features are from those of what they become with the changes, of a pair's
// products' sizes.
double compare_transpose(const std::vector<float> &vectors, const std::vector<float> &features,
                         const std::vector<float> &hidden, const std::vector<float> &changes) {
  double worst = 0;
  const size_t each = features.size() / COUNT, each_hidden = hidden.size() / COUNT;
  for (size_t pair = 0; pair < static_cast<size_t>(COUNT * COUNT); pair++) {
    const size_t vector = pair / COUNT, change = pair % COUNT;
    double through = 0, direct = 0, size = 0;
    for (size_t i = 0; i < each; i++) {
      const double product =
          static_cast<double>(vectors[vector * each + i]) * static_cast<double>(features[change * each + i]);
      through += product, size += std::fabs(product);
    }
    for (size_t i = 0; i < each_hidden; i++) {
      direct += static_cast<double>(hidden[vector * each_hidden + i]) *
                static_cast<double>(changes[change * each_hidden + i]);
    }
    worst = worse(worst, std::fabs(through - direct) / size);
  }
  return worst;
}

void test_metric(const Case &c) {
  Task task;
  const ModelPair pair = open_pair(c, 8, task);
  const auto &cpu = pair.cpu, &gpu = pair.gpu;
  const bool is_int8 = c.weights == Dtype::int8;
  auto &limited = static_cast<cuda::CudaModel &>(*gpu);
  const int64_t num_features = count_kl_features(c.vocab), all = POSITIONS * c.hidden;
  Random random(static_cast<uint64_t>(c.vocab));
  // Likeliest tokens from next to sure to hardly likelier than others.
  auto reference = random.values(all, 1), anchor = random.values(all, 1);
  for (int64_t i = 0; i < all; i++)
    reference[static_cast<size_t>(i)] *= 0.2f + 0.6f * static_cast<float>(i / c.hidden % 20);
  const auto changes = random.values(COUNT * all, 0.05), vectors = random.values(COUNT * POSITIONS * num_features, 1);
  for (const bool has_anchor : {false, true}) {
    const std::string name = std::string(c.name) + (has_anchor ? ", anchor: " : ": ");
    struct Both {
      std::vector<float> features, hidden;
      bool operator==(const Both &o) const { return features == o.features && hidden == o.hidden; }
    };
    const auto run = [&](DuoModel &model) {
      Both out{std::vector<float>(static_cast<size_t>(COUNT * POSITIONS * num_features)),
               std::vector<float>(static_cast<size_t>(COUNT * all))};
      model.use_kl_metric(reference.data(), has_anchor ? anchor.data() : nullptr, POSITIONS, task,
                          [&](const KlMetric &metric) {
                            metric.project(changes.data(), COUNT, out.features.data());
                            metric.pull_back(vectors.data(), COUNT, out.hidden.data());
                          });
      return out;
    };
    const Both expected = run(*cpu), got = run(*gpu);
    const double error = is_int8 ? tolerance::int8_kl : tolerance::kl_features;
    expect_within(worst_row_error(multiply_features(got.features, num_features),
                                  multiply_features(expected.features, num_features), COUNT * COUNT),
                  error, name + "inner products of features, each position");
    expect_within(compare_transpose(vectors, got.features, got.hidden, changes), 1e-6, name + "the transpose");
    for (const int64_t most : {int64_t{1}, 3 * COUNT * std::max(c.hidden, num_features)}) {
      limited.limit_kl_floats(most);
      expect(run(*gpu) == got, name + "the same bits with " + std::to_string(most) + " floats held at once");
    }
    limited.limit_kl_floats(int64_t{1} << 24);
  }
}

}  // namespace

int main() {
  test_metric({"a head of its own", 1, 2, 1, 32, 64, 64, 700, 8, false, false, false, Dtype::stored});
  test_metric({"tied, odd vocabulary", 1, 2, 1, 32, 72, 64, 301, 8, false, false, true, Dtype::bf16});
  test_metric({"all tokens have a feature", 1, 2, 1, 32, 64, 64, 61, 8, false, false, false, Dtype::stored});
  test_metric({"int8", 1, 2, 1, 32, 64, 64, 400, 8, false, false, true, Dtype::int8});
  return finish("test_cuda_kl");
}
