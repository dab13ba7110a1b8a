// What ends a pass: loss, scores, the choice of a token, the bookkeeping of a decode step.
#include "cuda/reductions.h"
#include "cpu/sampling.h"
#include "op_test.h"
#include "sampling_vectors.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

OP_TEST(reduction, launch_distill_loss) {
  // One element; fewer than blocks; more than a pass of all blocks' threads.
  for (const int64_t count : {int64_t{1}, int64_t{300}, int64_t{LOSS_BLOCKS} * 256 + 37}) {
    if (is_brief && count > 1000) continue;
    Random random(static_cast<uint64_t>(count));
    const auto student = random.values(count, 2.0), teacher = random.values(count, 2.0);
    const auto t = upload(teacher);
    DeviceBuffer<double> partial(LOSS_BLOCKS), loss(1);
    std::vector<double> loss_found;
    const auto gradient = run_launch<float>(
        "loss", count,
        [&](float *out, cudaStream_t stream) {
          const cudaError_t error = launch_distill_loss(out, t.data(), count, partial.data(), loss.data(), stream);
          loss_found.push_back(download(loss)[0]);
          return error;
        },
        student);
    double sum = 0;
    std::vector<double> expected;
    for (size_t i = 0; i < student.size(); i++) {
      const double difference = static_cast<double>(student[i]) - teacher[i];
      sum += difference * difference;
      expected.push_back(2 * difference / static_cast<double>(count));
    }
    expect_within(std::fabs(loss_found[0] / (sum / static_cast<double>(count)) - 1), 1e-12,
                  "loss of " + std::to_string(count));
    expect_within(worst_row_error(gradient, expected, 1), 1e-7, "its gradient, each element");
    for (const double other : loss_found) expect(other == loss_found[0], "the loss has the same bits in every order");
  }
}

OP_TEST(reduction, launch_subtract) {
  Random random(1);
  const auto a = random.values(700), b = random.values(700);
  const auto b_buffer = upload(b);
  std::vector<float> expected;
  for (size_t i = 0; i < a.size(); i++) expected.push_back(a[i] - b[i]);
  expect(run_launch<float>(
             "subtract", 700,
             [&](float *out, cudaStream_t stream) { return launch_subtract(out, b_buffer.data(), 700, out, stream); },
             a) == expected,
         "a − b, in place of a");
  expect(run_launch<float>(
             "subtract", 700,
             [&](float *out, cudaStream_t stream) { return launch_subtract(b_buffer.data(), out, 700, out, stream); },
             a) != expected,
         "not b − a");
}

OP_TEST(reduction, launch_score_rows) {
  for (const int64_t vocab : {1, 61, 700}) {
    Random random(static_cast<uint64_t>(vocab));
    const int64_t rows = 4;
    auto logits = random.values(rows * vocab, 5.0);
    std::vector<int32_t> targets, best;
    for (int64_t row = 0; row < rows; row++) targets.push_back(static_cast<int32_t>(random.below(vocab)));
    if (vocab > 60) {
      // A tie goes to the lower id, wherever the two lie; one row far from zero.
      logits[40] = logits[7] = 9.0f;
      logits[static_cast<size_t>(vocab + 60)] = logits[static_cast<size_t>(vocab + 33)] = 8.0f;
      for (int64_t i = 0; i < vocab; i++) logits[static_cast<size_t>(2 * vocab + i)] -= 500.0f;
      targets[3] = static_cast<int32_t>(vocab - 1);
    }
    const auto l = upload(logits);
    const auto t = upload(targets);
    DeviceBuffer<int32_t> predictions(rows);
    const auto got = run_launch<float>("scores", rows, [&](float *scores, cudaStream_t stream) {
      return launch_score_rows(l.data(), t.data(), rows, vocab, scores, predictions.data(), stream);
    });
    std::vector<double> expected;
    for (int64_t row = 0; row < rows; row++) {
      const float *at = logits.data() + row * vocab;
      const auto top = std::max_element(at, at + vocab);
      best.push_back(static_cast<int32_t>(top - at));
      double sum = 0;
      for (int64_t i = 0; i < vocab; i++) sum += std::exp(static_cast<double>(at[i]) - *top);
      expected.push_back(static_cast<double>(at[targets[static_cast<size_t>(row)]]) - *top - std::log(sum));
    }
    double worst = 0;
    for (int64_t row = 0; row < rows; row++)
      worst = worse(worst, std::fabs(got[static_cast<size_t>(row)] - expected[static_cast<size_t>(row)]) /
                               std::max(1.0, std::fabs(expected[static_cast<size_t>(row)])));
    expect_within(worst, 1e-7, "log-probabilities of " + std::to_string(vocab));
    expect(download(predictions) == best, "the lowest id of the largest logit of " + std::to_string(vocab));
  }
}

OP_TEST(reduction, launch_compare_rows) {
  for (const int64_t vocab : {1, 64, 61, 700}) {
    Random random(static_cast<uint64_t>(vocab) + 5);
    const int64_t rows = 3;
    const float scale = 0.3f;
    const LogitColumns columns(vocab);
    expect(columns.stride % 8 == 0 && columns.even % 8 == 0 && columns.stride >= vocab,
           "rows of gradients of " + std::to_string(vocab) + " are multiples of 8");
    auto teacher = random.values(rows * vocab, 4.0), student = random.values(rows * vocab, 4.0);
    for (int64_t i = 0; i < vocab; i++) {
      teacher[static_cast<size_t>(vocab + i)] += 300.0f;  // far from zero
      student[static_cast<size_t>(2 * vocab + i)] =
          teacher[static_cast<size_t>(2 * vocab + i)] - 70.0f;  // the same distribution
    }
    const auto t = upload(teacher), s = upload(student);
    DeviceBuffer<double> divergences(rows);
    std::vector<std::vector<double>> sums;
    const auto got = run_launch<bf16>("compare", rows * columns.stride, [&](bf16 *gradient, cudaStream_t stream) {
      const cudaError_t error =
          launch_compare_rows(t.data(), s.data(), rows, vocab, scale, gradient, divergences.data(), stream);
      sums.push_back(download(divergences));
      return error;
    });
    std::vector<double> expected, found, kl;
    for (int64_t row = 0; row < rows; row++) {
      const auto softmax = [&](const std::vector<float> &logits) {
        const float *at = logits.data() + row * vocab;
        std::vector<double> p;
        double sum = 0;
        for (int64_t i = 0; i < vocab; i++)
          p.push_back(std::exp(static_cast<double>(at[i]) - *std::max_element(at, at + vocab))), sum += p.back();
        for (double &value : p) value /= sum;
        return p;
      };
      const auto p = softmax(teacher), q = softmax(student);
      kl.push_back(0);
      std::vector<double> last(static_cast<size_t>(columns.stride));
      for (int64_t i = 0; i < vocab; i++) {
        const auto at = static_cast<size_t>(i);
        kl.back() += p[at] * std::log(p[at] / q[at]);
        last[static_cast<size_t>(i < columns.even ? i : columns.stride - vocab + i)] =
            static_cast<double>(scale) * (q[at] - p[at]);
      }
      expected.insert(expected.end(), last.begin(), last.end());
    }
    for (const bf16 value : got) found.push_back(static_cast<double>(bf16_to_float(value)));
    double worst = 0;
    for (size_t row = 0; row < kl.size(); row++)
      worst = worse(worst, std::fabs(sums[0][row] - kl[row]) / std::max(1.0, kl[row]));
    expect_within(worst, 1e-6, "KL divergences of " + std::to_string(vocab));
    expect(sums[0] == sums.back(), "divergences have the same bits in every order");
    expected.resize(static_cast<size_t>(2 * columns.stride)),
        found.resize(expected.size());  // that of equal distributions is rounding
    expect_within(worst_row_error(found, expected, columns.stride), 4e-3,
                  "their gradient, rounded to bf16, of " + std::to_string(vocab));
  }
}

OP_TEST(reduction, launch_check_finite) {
  const int64_t rows = 5, vocab = 3000;
  auto logits = Random(2).values(rows * vocab);
  const auto at = [&](int64_t row, int64_t i) -> float & { return logits[static_cast<size_t>(row * vocab + i)]; };
  at(1, 2999) = NAN;
  at(2, 1500) = INFINITY, at(2, 1499) = -INFINITY, at(2, 2990) = NAN;
  at(3, 0) = NAN;
  at(4, 1024) = 3.4028235e38f;  // large, and a number
  const auto l = upload(logits);
  const auto got = run_launch<int32_t>("finite", rows, [&](int32_t *bad, cudaStream_t stream) {
    return launch_check_finite(l.data(), rows, vocab, bad, stream);
  });
  expect(got == std::vector<int32_t>({-1, 2999, 1499, 0, -1}), "the first logit that is NaN or infinite");
}

// The CPU's draw, which its own test holds to the softmax.
OP_TEST(reduction, launch_sample) {
  for (const int64_t vocab : {1, 3, 300, 1500}) {
    auto logits = Random(5).values(vocab, 4.0);
    if (vocab > 200) logits[70] = logits[200] = logits[201] = 3.9f, logits[5] = -0.0f, logits[6] = 0.0f;  // ties
    const auto l = upload(logits);
    const auto length = upload(std::vector<int32_t>{17});
    DeviceBuffer<double> weights(vocab);
    int64_t wrong = 0, draws = 0;
    for (const float temperature : {0.0f, 0.5f, 1.0f, 3.0f}) {
      for (const int32_t top_k : {0, 1, 3, 250}) {
        for (const float top_p : {1.0f, 0.9f, 0.3f, 1e-6f}) {
          if (vocab > 1000 && temperature != 1.0f) continue;
          for (uint64_t seed = 0; seed < (is_brief || vocab != 300 ? 1u : 3u); seed++) {
            DeviceBuffer<int32_t> token(1);
            check(launch_sample(
                      {l.data(), vocab, length.data(), temperature, top_p, top_k, seed, weights.data(), token.data()},
                      test_stream().get()),
                  "a draw");
            wrong += download(token)[0] != sample_token(logits.data(), vocab, {temperature, top_k, top_p, seed}, 17);
            draws++;
          }
        }
      }
    }
    expect(wrong == 0, std::to_string(wrong) + " of " + std::to_string(draws) + " draws from " + std::to_string(vocab) +
                           " logits differ from the CPU's");
  }
  // The vectors of all three implementations.
  const SamplingVectors vectors = read_sampling_vectors();
  const auto vocab = static_cast<int64_t>(vectors.logits.size());
  const auto logit_buffer = upload(vectors.logits);
  DeviceBuffer<double> scratch(vocab);
  for (const SamplingVector &draw : vectors.draws) {
    if (is_brief) break;
    const auto length = upload(std::vector<int32_t>{static_cast<int32_t>(draw.length)});
    DeviceBuffer<int32_t> token(1);
    const Sampling &s = draw.sampling;
    check(launch_sample({logit_buffer.data(), vocab, length.data(), s.temperature, s.top_p, s.top_k, s.seed,
                         scratch.data(), token.data()},
                        test_stream().get()),
          "a draw");
    expect(download(token)[0] == draw.token, "the draw of seed " + std::to_string(s.seed));
  }
  const auto l = upload(std::vector<float>(64, 0.0f));
  DeviceBuffer<double> weights(64);
  std::vector<int32_t> drawn;
  for (const int32_t at : {3, 4}) {
    const auto length = upload(std::vector<int32_t>{at});
    const auto token = run_launch<int32_t>("a draw", 1, [&](int32_t *out, cudaStream_t stream) {
      return launch_sample({l.data(), 64, length.data(), 1.0f, 1.0f, 0, 9, weights.data(), out}, stream);
    });
    drawn.push_back(token[0]);
  }
  expect(drawn[0] != drawn[1], "a draw depends on the length");
}

OP_TEST(reduction, launch_set_value) {
  expect(
      run_launch<int32_t>("set", 2, [](int32_t *to, cudaStream_t stream) { return launch_set_value(to, 41, stream); },
                          {1, 2}) == std::vector<int32_t>({41, 2}),
      "one value is set");
}

}  // namespace
