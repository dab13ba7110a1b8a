// Distillation steps of the CUDA backend with more rows than it holds logits of at once, an odd number of them: loss and
// gate gradient against the CPU's, which runs in fp32 on the same bf16 weights and whose own loss test_kl.cpp holds to
// fp64. A step that takes a row's teacher from another chunk has a gradient that agrees with its own loss, so only a
// second implementation sees it.
#include "core/backend.h"
#include "core/weight_map.h"
#include "cuda_test.h"
#include "model_case.h"

using namespace duo;
using namespace duo::test;

namespace {

struct Step {
  double loss = 0;
  std::vector<float> gradient;
};

void test_many_rows(int64_t num_rows) {
  const Case c{"", 2, 4, 2, 32, 64, 96, 77, num_rows + 24, true, false, false, Dtype::stored};
  Task task;
  const ModelPair pair = open_pair(c, 6, task);
  const auto &cpu = pair.cpu, &gpu = pair.gpu;
  Random random(static_cast<uint64_t>(num_rows));
  std::vector<int32_t> tokens, positions;
  for (int64_t i = 0; i < c.tokens; i++) tokens.push_back(static_cast<int32_t>(random.below(c.vocab)));
  for (int64_t i = c.tokens - num_rows; i < c.tokens; i++) positions.push_back(static_cast<int32_t>(i));
  const Passage passage{tokens.data(), c.tokens, positions.data(), num_rows};
  const std::vector<float> gates{0.5f, 0.25f, 0.0f, 0.75f};
  const std::vector<int64_t> one_window(gates.size(), 12), by_head{5, 19, 12, 30};
  for (const bool is_by_head : {false, true}) {
    for (const int32_t flags : {DUO_DISTILL_DEFAULT, DUO_DISTILL_KL}) {
      const std::string name = std::to_string(num_rows) + " rows, " + (is_by_head ? "windows by head, " : "") +
                               (flags == DUO_DISTILL_KL ? "KL: " : "hidden: ");
      const auto run = [&](DuoModel &model) {
        Step step;
        step.gradient.assign(gates.size(), 0);
        model.distill(passage, gates.data(), {3, (is_by_head ? by_head : one_window).data()}, flags, task, &step.loss,
                      step.gradient.data());
        return step;
      };
      const Step expected = run(*cpu), got = run(*gpu);
      expect_within(std::fabs(got.loss - expected.loss) / expected.loss, tolerance::bf16_loss, name + "loss");
      expect_within(relative_error(got.gradient, expected.gradient), tolerance::gate_gradient, name + "gate gradient");
    }
  }
}

}  // namespace

int main() {
  test_many_rows(65);   // the second chunk is one row
  test_many_rows(131);  // three chunks
  return finish("test_cuda_distill");
}
