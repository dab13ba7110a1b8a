// What the KL metric is made of, against its definition in fp64: distributions on the way to an anchor, the likeliest
// tokens, values in two f16 parts, mean rows, and products with the maps.
#include "cuda/kl_features.h"

#include <numeric>

#include "core/kl_metric.h"
#include "cuda/reductions.h"
#include "op_test.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

constexpr int64_t POSITIONS = 3;

// log softmax of from + share·(to − from).
std::vector<double> log_softmax(const float *from, const float *to, double share, int64_t vocab) {
  std::vector<double> out;
  for (int64_t i = 0; i < vocab; i++)
    out.push_back(static_cast<double>(from[i]) + share * (static_cast<double>(to[i]) - static_cast<double>(from[i])));
  const double best = *std::max_element(out.begin(), out.end());
  double sum = 0;
  for (const double value : out) sum += std::exp(value - best);
  for (double &value : out) value -= best + std::log(sum);
  return out;
}

OP_TEST(reduction, launch_kl_distributions) {
  for (const int64_t vocab : {8, 61, 700}) {
    Random random(static_cast<uint64_t>(vocab));
    auto from = random.values(POSITIONS * vocab, 4.0), to = random.values(POSITIONS * vocab, 6.0);
    for (int64_t i = 0; i < vocab; i++) from[static_cast<size_t>(i)] += 300.0f;  // far from zero
    // The last row goes nowhere: nothing to scale by.
    std::copy(from.end() - vocab, from.end(), to.end() - vocab);
    const auto f = upload(from), t = upload(to);
    for (const bool has_anchor : {false, true}) {
      const std::string name = "distributions of " + std::to_string(vocab) + (has_anchor ? " towards an anchor" : "");
      DeviceBuffer<double> scale(POSITIONS);
      std::vector<std::vector<double>> scales;
      const auto got = run_launch<float>(
          name, POSITIONS * vocab,
          [&](float *out, cudaStream_t stream) {
            // In place of the logits, as the metric calls it.
            const cudaError_t error = launch_kl_distributions(out, has_anchor ? t.data() : nullptr, POSITIONS, vocab,
                                                              out, scale.data(), stream);
            scales.push_back(download(scale));
            return error;
          },
          from);
      std::vector<double> expected;
      double worst_scale = 0;
      for (int64_t row = 0; row < POSITIONS; row++) {
        const float *a = from.data() + row * vocab, *b = to.data() + row * vocab;
        const auto base = log_softmax(a, b, 0, vocab), end = log_softmax(a, b, 1, vocab);
        // The mean with weights 2(1 − t) by the trapezoid rule on 2000 steps: what the three of KL_STEPS stand for.
        std::vector<double> mean(static_cast<size_t>(vocab)), by_rule(mean.size());
        for (const KlStep &step : KL_STEPS) {
          const auto at = log_softmax(a, b, has_anchor ? step.share : 0, vocab);
          for (size_t i = 0; i < mean.size(); i++) by_rule[i] += step.weight * std::exp(at[i]);
        }
        constexpr int STEPS = 2000;
        for (int s = 0; s <= STEPS; s++) {
          const double share = static_cast<double>(s) / STEPS, weight = (s == 0 || s == STEPS ? 0.5 : 1.0) / STEPS;
          const auto at = log_softmax(a, b, has_anchor ? share : 0, vocab);
          for (size_t i = 0; i < mean.size(); i++) mean[i] += weight * 2 * (1 - share) * std::exp(at[i]);
        }
        double off = 0;
        for (size_t i = 0; i < mean.size(); i++) off = worse(off, std::fabs(by_rule[i] - mean[i]));
        expect_within(off, 0.1, name + ": three steps against the integral, row " + std::to_string(row));
        double divergence = 0, first = 0, second = 0;
        for (int64_t i = 0; i < vocab; i++) {
          const auto at = static_cast<size_t>(i);
          divergence += std::exp(base[at]) * (base[at] - end[at]);
          first += by_rule[at] * (static_cast<double>(b[i]) - static_cast<double>(a[i]));
        }
        for (int64_t i = 0; i < vocab; i++) {
          const double change = static_cast<double>(b[i]) - static_cast<double>(a[i]) - first;
          second += by_rule[static_cast<size_t>(i)] * change * change;
        }
        const double wanted = has_anchor && row + 1 < POSITIONS ? 2 * divergence / second : 1.0;
        worst_scale = worse(worst_scale, std::fabs(scales[0][static_cast<size_t>(row)] / wanted - 1));
        expected.insert(expected.end(), by_rule.begin(), by_rule.end());
      }
      expect_within(worst_row_error(got, expected, vocab), 2e-7, name);
      expect_within(worst_scale, 1e-9, name + ": scale");
      expect(scales[0] == scales.back(), name + ": scales have the same bits in every order");
    }
  }
  // Sure of one token, so far above the others that their exponentials have no common scale.
  std::vector<float> sure(700, 0.0f);
  sure[620] = 1000.0f;
  DeviceBuffer<double> scale(1);
  const auto got = run_launch<float>(
      "a sure distribution", 700,
      [&](float *out, cudaStream_t stream) {
        return launch_kl_distributions(out, nullptr, 1, 700, out, scale.data(), stream);
      },
      sure);
  std::vector<float> expected(700, 0.0f);
  expected[620] = 1.0f;
  expect(got == expected, "a distribution that is sure of one token");
}

OP_TEST(reduction, launch_kl_tokens) {
  struct Case {
    int64_t vocab, count;
  };
  for (const Case &c : {Case{8, 8}, Case{40, 1}, Case{61, 17}, Case{700, 255}, Case{700, 256}, Case{256, 256}}) {
    Random random(static_cast<uint64_t>(c.vocab + c.count));
    std::vector<float> probabilities;
    for (int64_t i = 0; i < POSITIONS * c.vocab; i++) {
      // Of few sizes, so that the cut falls among equal ones; the second row is nearly all zero, the third all different.
      const int64_t row = i / c.vocab;
      probabilities.push_back(row == 0   ? std::ldexp(1.0f, -static_cast<int>(random.below(5)) - 6)
                              : row == 1 ? (i % 37 == 3 ? 0.01f : 0.0f)
                                         : std::fabs(random.value()) / static_cast<float>(c.vocab));
    }
    const std::string name = std::to_string(c.count) + " tokens of " + std::to_string(c.vocab);
    DeviceBuffer<int32_t> tokens(POSITIONS * c.count);
    DeviceBuffer<float> shares(POSITIONS * (c.count + 1));
    const auto left = run_launch<float>(
        name, POSITIONS * c.vocab,
        [&](float *out, cudaStream_t stream) {
          return launch_kl_tokens(out, POSITIONS, c.vocab, c.count, tokens.data(), shares.data(), stream);
        },
        probabilities);
    std::vector<int32_t> expected;
    std::vector<float> expected_left = probabilities;
    const auto got_shares = download(shares);
    double worst = 0;
    for (int64_t row = 0; row < POSITIONS; row++) {
      const float *at = probabilities.data() + row * c.vocab;
      std::vector<int32_t> order(static_cast<size_t>(c.vocab));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return at[a] > at[b]; });
      double others = 0;
      for (int64_t i = 0; i < c.vocab; i++) {
        const int32_t token = order[static_cast<size_t>(i)];
        const float *found = got_shares.data() + row * (c.count + 1);
        if (i < c.count) {
          expected.push_back(token);
          worst = worse(worst, std::fabs(static_cast<double>(found[i]) - static_cast<double>(at[token])));
          expected_left[static_cast<size_t>(row * c.vocab + token)] = 0;
        } else {
          others += static_cast<double>(at[token]);
        }
      }
      worst = worse(
          worst,
          std::fabs(static_cast<double>(got_shares[static_cast<size_t>((row + 1) * (c.count + 1) - 1)]) - others) /
              std::max(others, 1.0));
    }
    expect(download(tokens) == expected, name + ": the likeliest, of equal ones the lower ids");
    expect_within(worst, 1e-7, name + ": their probabilities and that of the others");
    expect(left == expected_left, name + ": zero where they stood");
  }
  expect(launch_kl_tokens(nullptr, 1, 700, MAX_KL_TOKENS + 1, nullptr, nullptr, test_stream().get()) != cudaSuccess,
         "more tokens than threads are refused");
}

OP_TEST(reduction, launch_split_f16) {
  for (const int64_t width : {64, 61, 13}) {
    const int64_t rows = 5;
    Random random(static_cast<uint64_t>(width));
    auto from = random.values(rows * width);
    for (float &value : from) value = std::ldexp(value / 3, -static_cast<int>(random.below(16)));
    from[3] = 0, from[4] = -1, from[static_cast<size_t>(width)] = 1;
    const float factor = 0x1p14f;
    const LogitColumns columns(width);
    const auto f = upload(from);
    DeviceBuffer<uint16_t> low(rows * columns.stride);
    const std::string name = "f16 parts of rows of " + std::to_string(width);
    const auto high = run_launch<uint16_t>(name, rows * columns.stride, [&](uint16_t *out, cudaStream_t stream) {
      return launch_split_f16(f.data(), rows, width, factor, out, low.data(), stream);
    });
    const auto highs = from_half(high, Half::f16), lows = from_half(download(low), Half::f16);
    double worst = 0;
    bool is_rounded = true, is_zero = true;
    for (int64_t row = 0; row < rows; row++) {
      for (int64_t at = 0; at < columns.stride; at++) {
        const int64_t column = at < columns.even ? at : width - columns.stride + at;
        const auto i = static_cast<size_t>(row * columns.stride + at);
        if (at >= columns.even && column < columns.even) {
          is_zero = is_zero && high[i] == 0 && lows[i] == 0;
          continue;
        }
        const double value =
            static_cast<double>(factor) * static_cast<double>(from[static_cast<size_t>(row * width + column)]);
        is_rounded = is_rounded && high[i] == float_to_f16(static_cast<float>(value));
        const double sum = static_cast<double>(highs[i]) + static_cast<double>(lows[i]) / SPLIT_LOW;
        worst = worse(worst, value == 0 ? std::fabs(sum) : std::fabs(sum - value) / std::fabs(value));
      }
    }
    expect(is_rounded, name + ": the high one is the value rounded");
    expect(is_zero, name + ": zeros where the first columns hold a value already");
    expect_within(worst, 0x1p-21, name + ": both together");
  }
}

// Maps of POSITIONS positions over a head of f16 rows, in fp64 on the host and on the device.
struct Maps {
  int64_t vocab, width, tokens_each, features;
  float unit = 0.25f;
  std::vector<uint16_t> head;
  std::vector<int32_t> tokens;
  std::vector<float> shares, others, mean, rest;
  std::vector<double> scale;
  DeviceBuffer<uint16_t> head_on;
  DeviceBuffer<int32_t> tokens_on;
  DeviceBuffer<float> shares_on, mean_on, rest_on;
  DeviceBuffer<double> scale_on;

  Maps(int64_t vocab_, int64_t width_, int64_t tokens_each_)
      : vocab(vocab_), width(width_), tokens_each(tokens_each_), features(tokens_each_ + 1) {
    Random random(static_cast<uint64_t>(vocab + width));
    head = to_half(random.values(vocab * width, 4.0), Half::f16);
    for (int64_t position = 0; position < POSITIONS; position++) {
      std::vector<int32_t> order(static_cast<size_t>(vocab));
      std::iota(order.begin(), order.end(), 0);
      for (size_t i = order.size() - 1; i > 0; i--)
        std::swap(order[i], order[static_cast<size_t>(random.below(static_cast<int64_t>(i) + 1))]);
      tokens.insert(tokens.end(), order.begin(), order.begin() + tokens_each);
      // The last position has next to nothing left for others.
      const double left = position + 1 == POSITIONS ? 1e-7 : 0.2;
      for (int64_t i = 0; i < tokens_each; i++)
        shares.push_back(static_cast<float>((1 - left) / static_cast<double>(tokens_each)));
      shares.push_back(static_cast<float>(left));
      scale.push_back(0.5 + static_cast<double>(position));
      const auto row = random.values(width, left);
      others.insert(others.end(), row.begin(), row.end());
    }
    mean = random.values(POSITIONS * width), rest = random.values(POSITIONS * width);
    head_on = upload(head), tokens_on = upload(tokens), shares_on = upload(shares), scale_on = upload(scale);
    mean_on = upload(mean), rest_on = upload(rest);
  }
  KlMaps on_device(float *mean_at, float *rest_at) const {
    return {head_on.data(),  unit,    width,  features, tokens_on.data(), shares_on.data(),
            scale_on.data(), mean_at, rest_at};
  }
  double weight(int64_t position, int64_t feature, int64_t column) const {
    const auto token = static_cast<int64_t>(tokens[static_cast<size_t>(position * tokens_each + feature)]);
    return static_cast<double>(unit) *
           static_cast<double>(f16_to_float(head[static_cast<size_t>(token * width + column)]));
  }
  double element(int64_t position, int64_t feature, int64_t column) const {
    const auto at = static_cast<size_t>(position * width + column);
    const double share = static_cast<double>(shares[static_cast<size_t>(position * features + feature)]);
    const double row = feature == tokens_each ? static_cast<double>(rest[at])
                                              : weight(position, feature, column) - static_cast<double>(mean[at]);
    return std::sqrt(share * scale[static_cast<size_t>(position)] / 2) * row;
  }
};

OP_TEST(product, launch_kl_means) {
  for (const Maps &maps : {Maps(50, 24, 11), Maps(300, 264, 255)}) {
    const std::string name = "mean rows of " + std::to_string(maps.width);
    DeviceBuffer<float> mean(POSITIONS * maps.width);
    std::vector<float> rest;
    const auto got = run_launch<float>(
        name, POSITIONS * maps.width,
        [&](float *out, cudaStream_t stream) {
          const cudaError_t error = launch_kl_means(maps.on_device(mean.data(), out), POSITIONS, stream);
          return error;
        },
        maps.others);
    std::vector<double> expected, expected_rest;
    for (int64_t position = 0; position < POSITIONS; position++) {
      for (int64_t column = 0; column < maps.width; column++) {
        const double others = static_cast<double>(maps.others[static_cast<size_t>(position * maps.width + column)]),
                     share = static_cast<double>(maps.shares[static_cast<size_t>((position + 1) * maps.features - 1)]);
        double sum = others;
        for (int64_t i = 0; i < maps.tokens_each; i++)
          sum += static_cast<double>(maps.shares[static_cast<size_t>(position * maps.features + i)]) *
                 maps.weight(position, i, column);
        expected.push_back(sum);
        expected_rest.push_back(position + 1 == POSITIONS ? 0 : others / share - sum);
      }
    }
    expect_within(worst_row_error(download(mean), expected, maps.width), 2e-7, name);
    expect_within(worst_row_error(got, expected_rest, maps.width), 2e-7, name + ": the others less the mean");
  }
}

void test_product(bool is_back) {
  // Within a tile of every side; past one of each.
  for (const Maps &maps : {Maps(50, 24, 11), Maps(300, 136, 200)}) {
    for (const int64_t count : {1, 70}) {
      if (is_brief && count > 1) continue;
      const int64_t depth = is_back ? maps.features : maps.width, columns = is_back ? maps.width : maps.features;
      const std::string name = std::string(is_back ? "vectors through" : "features of changes by") + " maps of " +
                               std::to_string(maps.features) + " x " + std::to_string(maps.width) + ", " +
                               std::to_string(count);
      const auto left = Random(static_cast<uint64_t>(count)).values(count * POSITIONS * depth);
      const auto l = upload(left);
      const auto got = run_launch<float>(name, count * POSITIONS * columns, [&](float *out, cudaStream_t stream) {
        const KlMaps on = maps.on_device(maps.mean_on.data(), maps.rest_on.data());
        return is_back ? launch_kl_pull_back(on, l.data(), POSITIONS, count, out, stream)
                       : launch_kl_project(on, l.data(), POSITIONS, count, out, stream);
      });
      std::vector<double> expected;
      for (int64_t row = 0; row < count * POSITIONS; row++) {
        for (int64_t column = 0; column < columns; column++) {
          double sum = 0;
          for (int64_t i = 0; i < depth; i++) {
            sum += static_cast<double>(left[static_cast<size_t>(row * depth + i)]) *
                   maps.element(row % POSITIONS, is_back ? i : column, is_back ? column : i);
          }
          expected.push_back(sum);
        }
      }
      expect_within(worst_row_error(got, expected, columns), tolerance::fp32_sum, name);
      // From a later position on, the same bits.
      const auto part = [&](const std::vector<float> &all, int64_t width) {
        std::vector<float> out;
        for (int64_t row = 0; row < count * POSITIONS; row++) {
          if (row % POSITIONS > 0) out.insert(out.end(), all.begin() + row * width, all.begin() + (row + 1) * width);
        }
        return out;
      };
      const auto later = upload(part(left, depth));
      const auto got_part =
          run_launch<float>(name, count * (POSITIONS - 1) * columns, [&](float *out, cudaStream_t stream) {
            const KlMaps on = maps.on_device(maps.mean_on.data(), maps.rest_on.data()).from(1);
            return is_back ? launch_kl_pull_back(on, later.data(), POSITIONS - 1, count, out, stream)
                           : launch_kl_project(on, later.data(), POSITIONS - 1, count, out, stream);
          });
      expect(got_part == part(got, columns), name + ": the same bits from the second position on");
    }
  }
}
OP_TEST(product, launch_kl_project) { test_product(false); }
OP_TEST(product, launch_kl_pull_back) { test_product(true); }

}  // namespace
