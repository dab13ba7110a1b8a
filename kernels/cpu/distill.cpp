// The distillation step: teacher forward, student forward with layer inputs kept, then backward layer by layer, each
// recomputed. docs/semantics.md, 2 and 3; arXiv 2410.10819, section 2.3.
#include <algorithm>
#include <cmath>

#include "core/distill_cost.h"
#include "cpu/layer_ops.h"
#include "cpu/mlp_rows.h"
#include "cpu/transformer.h"

namespace duo {
namespace {

// Rows of logits held at once, of teacher and student: 64 rows of a 128K vocabulary are 66 MB.
constexpr int64_t LOGIT_ROWS = 64;

// Mean over `count` values of (student − teacher)²; student becomes its gradient.
double measure_squares(const float *teacher, float *student, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) {
    const double difference = static_cast<double>(student[i]) - static_cast<double>(teacher[i]);
    sum += difference * difference;
    student[i] = static_cast<float>(2 * difference / static_cast<double>(count));
  }
  return sum / static_cast<double>(count);
}

struct SoftmaxSums {
  double best, log_sum;  // log p = logit − best − log_sum
  SoftmaxSums(const float *logits, int64_t vocab)
      : best(static_cast<double>(*std::max_element(logits, logits + vocab))) {
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++) sum += std::exp(static_cast<double>(logits[i]) - best);
    log_sum = std::log(sum);
  }
  double log_probability(float logit) const { return static_cast<double>(logit) - best - log_sum; }
};

// KL(teacher ‖ student) of a row's logits; the student's become (student's − teacher's probabilities) times `scale`.
double compare_rows(const float *teacher, float *student, int64_t vocab, double scale) {
  const SoftmaxSums of_teacher(teacher, vocab), of_student(student, vocab);
  double sum = 0;
  for (int64_t i = 0; i < vocab; i++) {
    const double expected = of_teacher.log_probability(teacher[i]), found = of_student.log_probability(student[i]),
                 probability = std::exp(expected);
    sum += probability * (expected - found);
    student[i] = static_cast<float>(scale * (std::exp(found) - probability));
  }
  return sum;
}

// Mean over rows of the KL divergence of next-token distributions of hidden states [rows, C]; student becomes its
// gradient.
double measure_kl(const CpuContext &context, const Linear &lm_head, const float *teacher, float *student,
                  int64_t rows) {
  const int64_t width = lm_head.in(), vocab = lm_head.out(), most = std::min(LOGIT_ROWS, rows);
  ScratchBuffer expected(most * vocab), found(most * vocab);
  std::vector<double> sums(static_cast<size_t>(rows));
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    multiply_linear(context, lm_head, teacher + first * width, width, count, expected.data(), vocab, false);
    multiply_linear(context, lm_head, student + first * width, width, count, found.data(), vocab, false);
    context.run(count, [&](int64_t row, int64_t) {
      sums[static_cast<size_t>(first + row)] = compare_rows(expected.data() + row * vocab, found.data() + row * vocab,
                                                            vocab, 1.0 / static_cast<double>(rows));
    });
    multiply_linear_transposed(context, lm_head, found.data(), vocab, count, student + first * width, width, false);
  }
  double sum = 0;
  for (const double row : sums) sum += row;
  return sum / static_cast<double>(rows);
}

}  // namespace

void CpuModel::distill(const Passage &passage, const float *gates, const HeadWindows &windows, int32_t flags,
                       Task &task, double *loss, float *gradient) {
  const int64_t num_tokens = count_needed_tokens(passage), num_rows = passage.num_positions, width = config_.hidden,
                layers = config_.layers;
  task.set_total(3 * layers);
  const bool teacher_branch = (flags & DUO_DISTILL_TEACHER_BRANCH) != 0;
  std::vector<ScratchBuffer> layer_inputs(static_cast<size_t>(layers)), teacher_full(static_cast<size_t>(layers));
  ScratchBuffer teacher(num_rows * width), student(num_rows * width), last_rows(num_rows * width);
  forward_sample(*this, passage, nullptr, windows, task, nullptr, teacher_branch ? &teacher_full : nullptr,
                 teacher.data(), nullptr);
  forward_sample(*this, passage, gates, windows, task, &layer_inputs, teacher_branch ? &teacher_full : nullptr,
                 student.data(), last_rows.data());

  // `student` becomes the gradient of the final hidden states.
  *loss = (flags & DUO_DISTILL_KL) != 0 ? measure_kl(context(&task), lm_head_, teacher.data(), student.data(), num_rows)
                                        : measure_squares(teacher.data(), student.data(), num_rows * width);

  SamplePass pass(*this, num_tokens, passage.num_tokens, windows, task);
  const RowSet all = RowSet::all(num_tokens);
  const RowSet wanted{std::vector<int32_t>(passage.positions, passage.positions + num_rows), false};
  ScratchBuffer d_out(num_tokens * width), dx(layers > 1 ? num_tokens * width : 0);
  rms_norm_backward(pass.context(), last_rows.data(), final_norm_.data(), student.data(), num_rows, width,
                    config_.rms_norm_eps, d_out.data(), false);
  std::vector<double> d_gates(static_cast<size_t>(config_.kv_heads));
  for (int64_t layer = layers - 1; layer >= 0; layer--) {
    const auto at = static_cast<size_t>(layer);
    const RowSet &rows = layer == layers - 1 ? wanted : all;
    const LayerMix mix{gates + layer * config_.kv_heads, teacher_branch ? teacher_full[at].data() : nullptr, true};
    const float *x = layer_inputs[at].data();
    pass.attend_layer(layer, x, rows, mix, layer > 0);
    pass.mix_heads(rows, mix);
    // Below layer 0 there is no gate, so its input needs no gradient.
    pass.backward_layer(layer, x, rows, mix, d_out.data(), d_gates.data(), layer > 0 ? dx.data() : nullptr);
    for (int64_t head = 0; head < config_.kv_heads; head++)
      gradient[layer * config_.kv_heads + head] = static_cast<float>(d_gates[static_cast<size_t>(head)]);
    layer_inputs[at].resize(0);
    std::swap(d_out, dx);
    task.add_done();
  }
}

void CpuModel::estimate_distill(int64_t num_tokens, int64_t num_positions, const HeadWindows &windows,
                                int64_t *memory_bytes, double *operations) {
  *operations = count_distill_operations(config_, num_tokens, num_positions, windows);
  const double tokens = static_cast<double>(num_tokens), layers = static_cast<double>(config_.layers),
               hidden = static_cast<double>(config_.hidden);
  const double query = static_cast<double>(config_.query_width()), kv = static_cast<double>(config_.kv_width());
  const double mlp_rows = std::min(tokens, static_cast<double>(MLP_ROWS));
  const double working =
      tokens * (7 * hidden + 6 * query + 14 * kv) + 3 * mlp_rows * static_cast<double>(config_.intermediate);
  *memory_bytes = static_cast<int64_t>(4 * (layers * tokens * hidden + working));
}

}  // namespace duo
