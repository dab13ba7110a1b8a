// The table of a decode step's sessions: written at its beginning, read for rotary tables, and by its end for who gets
// which logits.
#include "cuda/decode_table.h"
#include "op_test.h"

using namespace duo;
using namespace duo::test;
using namespace duo::cuda;

namespace {

bool is_same(const DecodeMember &a, const DecodeMember &b) {
  return a.caches == b.caches && a.inverse == b.inverse && a.logits == b.logits && a.rope_scale == b.rope_scale &&
         a.length == b.length;
}

// A member that differs from every other in all that it holds.
DecodeMember make_member(int32_t i) {
  const auto *base = static_cast<const uint8_t *>(nullptr) + 4096 * (i + 1);
  return {reinterpret_cast<const HeadCache *>(base), reinterpret_cast<const float *>(base + 64),
          reinterpret_cast<float *>(const_cast<uint8_t *>(base) + 128), 1.0f + static_cast<float>(i), 200 + i};
}

OP_TEST(decode, launch_begin_step) {
  for (const int32_t count : {1, 3, MAX_STEP_SESSIONS}) {
    for (const bool has_tokens : {true, false}) {
      std::vector<DecodeMember> written;
      const auto tokens = run_launch<int32_t>(
          "a step's beginning", MAX_STEP_SESSIONS + 1,
          [&](int32_t *to, cudaStream_t stream) {
            const auto members = upload(std::vector<DecodeMember>(MAX_STEP_SESSIONS, DecodeMember{}));
            StepInputs inputs{members.data(), to, count, has_tokens, {}, {}};
            for (int32_t i = 0; i < MAX_STEP_SESSIONS; i++)
              inputs.members[i] = make_member(i), inputs.tokens[i] = 100 + i;
            const cudaError_t error = launch_begin_step(inputs, stream);
            written = download(members);
            return error;
          },
          std::vector<int32_t>(MAX_STEP_SESSIONS + 1, 7));
      bool is_right = true;
      for (int32_t i = 0; i <= MAX_STEP_SESSIONS; i++)
        is_right = is_right && tokens[static_cast<size_t>(i)] == (i < count && has_tokens ? 100 + i : 7);
      expect(is_right, "tokens of " + std::to_string(count) + (has_tokens ? "" : ", which lie there"));
      for (int32_t i = 0; i < MAX_STEP_SESSIONS; i++)
        is_right = is_right && is_same(written[static_cast<size_t>(i)], i < count ? make_member(i) : DecodeMember{});
      expect(is_right, "members of " + std::to_string(count));
    }
  }
}

OP_TEST(decode, launch_step_rope) {
  const int32_t half = 20;
  const std::vector<int32_t> lengths{131071, 0, 7};
  std::vector<std::vector<float>> frequencies;
  std::vector<DeviceBuffer<float>> buffers;
  std::vector<DecodeMember> members;
  for (size_t m = 0; m < lengths.size(); m++) {
    std::vector<float> inverse;
    for (int32_t i = 0; i < half; i++)
      inverse.push_back(std::pow(10000.0f + 1000.0f * static_cast<float>(m), -static_cast<float>(i) / half));
    buffers.push_back(upload(inverse));
    frequencies.push_back(inverse);
    members.push_back({nullptr, buffers.back().data(), nullptr, 1.25f + static_cast<float>(m), lengths[m]});
  }
  const auto table = upload(members);
  const int64_t count = static_cast<int64_t>(lengths.size()) * half;
  DeviceBuffer<float> sine(count);
  const auto cosines = run_launch<float>("rotary tables of members", count, [&](float *out, cudaStream_t stream) {
    return launch_step_rope(table.data(), static_cast<int32_t>(lengths.size()), half, out, sine.data(), stream);
  });
  const auto sines = download(sine);
  double worst = 0;
  for (size_t i = 0; i < static_cast<size_t>(count); i++) {
    const size_t m = i / half;
    const double angle = static_cast<double>(static_cast<float>(lengths[m]) * frequencies[m][i % half]),
                 scale = static_cast<double>(members[m].rope_scale);
    worst = worse(worst, std::fabs(cosines[i] - scale * std::cos(angle)));
    worst = worse(worst, std::fabs(sines[i] - scale * std::sin(angle)));
  }
  expect_within(worst, 1e-6, "rotary tables of members, each its own frequencies, scale and length");
}

OP_TEST(decode, launch_end_step) {
  const int64_t vocab = 300;  // more than a block
  const auto logits = Random(5).values(3 * vocab);
  const auto from = upload(logits);
  std::vector<int32_t> first_bad;
  std::vector<std::vector<float>> handed_out;
  const auto reported = run_launch<int32_t>(
      "a step's end", 4,
      [&](int32_t *out, cudaStream_t stream) {
        std::vector<DeviceBuffer<float>> to;
        std::vector<DecodeMember> members;
        for (int i = 0; i < 3; i++)
          to.emplace_back(vocab), members.push_back({nullptr, nullptr, to.back().data(), 1.0f, 0});
        const auto table = upload(members);
        const auto bad = upload(std::vector<int32_t>{NONE_BAD, 5, -1, 77});
        const cudaError_t error = launch_end_step({table.data(), 3, from.data(), vocab, bad.data(), out}, stream);
        first_bad = download(bad);
        handed_out.clear();
        for (const auto &one : to) handed_out.push_back(download(one));
        return error;
      },
      {-9, -9, -9, -9});
  for (size_t i = 0; i < 3; i++)
    expect(std::equal(handed_out[i].begin(), handed_out[i].end(), logits.begin() + static_cast<int64_t>(i) * vocab),
           "logits of member " + std::to_string(i));
  expect(reported == std::vector<int32_t>({-1, 5, -1, -9}), "what is not finite is reported");
  expect(first_bad == std::vector<int32_t>({NONE_BAD, NONE_BAD, NONE_BAD, 77}), "and forgotten");
}

}  // namespace
