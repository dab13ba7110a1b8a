// The distillation step: teacher forward, student forward with layer inputs kept, then backward layer by layer.
// docs/semantics.md, 2 and 3; arXiv 2410.10819, section 2.3.
#include <algorithm>
#include <memory>

#include "core/distill_cost.h"
#include "cuda/layer_ops.h"
#include "cuda/reductions.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {
namespace {

constexpr double MAX_DEVICE_SHARE =
    0.9;  // kept branches only save time: what is left is the driver's and other programs'
constexpr int64_t LOGIT_ROWS =
    64;  // rows of logits held at once, of teacher and student: 82 MB of a 128K vocabulary with their gradient

// Memory of the KL divergence of next-token distributions.
struct KlMemory {
  KlMemory(const ModelConfig &config, int64_t rows)
      : columns(config.vocab),
        most(std::min(LOGIT_ROWS, rows)),
        teacher(most * config.vocab),
        student(most * config.vocab),
        gradient(most * columns.stride),
        narrowed(most * config.hidden),
        divergences(rows) {
    if (config.vocab < 8)
      fail(DUO_STATUS_UNSUPPORTED, "Expected a vocabulary of at least 8 for a KL divergence, got `%lld`",
           static_cast<long long>(config.vocab));
  }
  LogitColumns columns;
  int64_t most;
  DeviceBuffer<float> teacher, student;  // [most, V]
  DeviceBuffer<bf16> gradient;           // [most, columns.stride]
  DeviceBuffer<bf16> narrowed;           // [most, C]
  DeviceBuffer<double> divergences;      // [P]
};

// Mean over positions of KL(teacher ‖ student) of hidden states [P, C]; student becomes its gradient.
double measure_kl(const CudaModel &model, SamplePass &pass, const float *teacher, float *student, int64_t rows,
                  const KlMemory &memory) {
  const int64_t width = model.config().hidden, vocab = model.config().vocab;
  const auto logits = [&](const float *hidden, int64_t count, float *to) {
    check(launch_narrow(hidden, count * width, memory.narrowed.data(), pass.stream().get()), "rounding hidden states");
    multiply_linear(model, model.lm_head(), 0, vocab, memory.narrowed.data(), count, to, vocab, Store::f32,
                    pass.scratch(), pass.stream());
  };
  for (int64_t first = 0; first < rows; first += memory.most) {
    const int64_t count = std::min(memory.most, rows - first);
    logits(teacher + first * width, count, memory.teacher.data());
    logits(student + first * width, count, memory.student.data());
    check(
        launch_compare_rows(memory.teacher.data(), memory.student.data(), count, vocab, 1.0f / static_cast<float>(rows),
                            memory.gradient.data(), memory.divergences.data() + first, pass.stream().get()),
        "comparing distributions");
    // If the vocabulary is odd, the last tokens are in a product of their own.
    const LogitColumns &columns = memory.columns;
    const auto back = [&](int64_t first_token, int64_t num_tokens, const bf16 *gradient, Store store) {
      multiply_linear_transposed(model, model.lm_head(), first_token, num_tokens, gradient, columns.stride, count,
                                 student + first * width, store, pass.scratch(), pass.stream());
    };
    back(0, columns.even, memory.gradient.data(), Store::f32);
    if (columns.even < vocab) back(vocab - 8, 8, memory.gradient.data() + columns.even, Store::add_f32);
  }
  std::vector<double> divergences(static_cast<size_t>(rows));
  copy_to_host(divergences.data(), memory.divergences.data(), rows, pass.stream());
  double sum = 0;
  for (const double divergence : divergences) sum += divergence;
  return sum / static_cast<double>(rows);
}

}  // namespace

void CudaModel::distill(const Passage &passage, const float *gates, const HeadWindows &windows, int32_t flags,
                        Task &task, double *loss, float *gradient) {
  select_device();
  const LayerTurn turn(layers_, task);
  task.set_total(3 * config_.layers);
  const bool is_kl = (flags & DUO_DISTILL_KL) != 0;
  // Before the pass, which keeps as many branches as the memory that is left holds.
  const std::unique_ptr<KlMemory> kl = is_kl ? std::make_unique<KlMemory>(config_, passage.num_positions) : nullptr;
  SamplePass pass(*this, passage, windows, PassRole::distill, flags, task);
  const auto [teacher, student] = pass.run_forwards(gates);
  const PassMemory &memory = pass.memory();
  if (kl != nullptr) {
    *loss = measure_kl(*this, pass, teacher, student, passage.num_positions, *kl);
  } else {
    check(launch_distill_loss(student, teacher, passage.num_positions * config_.hidden, memory.loss_sums, memory.loss,
                              pass.stream().get()),
          "the loss");
  }
  const float *gate_gradient = pass.run_backward(student);
  copy_to_host(gradient, gate_gradient, config_.num_gates(), pass.stream());
  if (kl == nullptr) copy_to_host(loss, memory.loss, 1, pass.stream());
}

// Matrix products' own memory: cuBLASLt's, and of weights in fewer bits the widest matrix as bf16.
int64_t CudaModel::beside_pass_bytes() const {
  const DeviceLayer &layer = layers_.description(0);
  const bool is_widened = layer.gate_up.format != WeightFormat::bf16;
  return algebra_.workspace_bytes() +
         (is_widened ? 2 * std::max(layer.gate_up.rows, layer.qkv.rows) * config_.hidden : 0);
}

int64_t CudaModel::choose_kept_layers(PassSize size) const {
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
  const int64_t free_room = static_cast<int64_t>(free_bytes) + workspace_.bytes();
  const int64_t most_room =
      static_cast<int64_t>(static_cast<double>(total_bytes) * MAX_DEVICE_SHARE) - device_weight_bytes();
  const int64_t room = std::min(free_room, most_room) - beside_pass_bytes();
  for (size.kept_layers = std::min(config_.layers, most_kept_layers_); size.kept_layers > 0; size.kept_layers--) {
    if (PassMemory::count_bytes(config_, size) <= room) break;
  }
  return size.kept_layers;
}

void CudaModel::estimate_distill(int64_t num_tokens, int64_t num_positions, const HeadWindows &windows,
                                 int64_t *memory_bytes, double *operations) {
  select_device();
  *operations = count_distill_operations(config_, num_tokens, num_positions, windows);
  PassSize size{num_tokens, num_positions, PassRole::distill};
  size.side_by_side = layers_.streams();
  size.kept_layers = choose_kept_layers(size);
  *memory_bytes = PassMemory::count_bytes(config_, size) + beside_pass_bytes();
}

}  // namespace duo::cuda
