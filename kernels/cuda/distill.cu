// The distillation step: teacher forward, student forward with layer inputs kept, then backward layer by layer.
// docs/semantics.md, 2 and 3; arXiv 2410.10819, section 2.3.
#include <algorithm>

#include "core/distill_cost.h"
#include "cuda/reductions.h"
#include "cuda/sample_pass.h"

namespace duo::cuda {
namespace {

constexpr double MOST_OF_DEVICE = 0.9;  // kept branches only save time: what is left is the driver's and other programs'

}  // namespace

void CudaModel::distill(const Passage &passage, const float *gates, const HeadWindows &windows, int32_t flags, Task &task, double *loss, float *gradient) {
  select_device();
  task.set_total(3 * config_.layers);
  SamplePass pass(*this, passage, windows, PassRole::distill, flags, task);
  const float *teacher = pass.run_teacher();
  float *student = pass.run_student(gates);
  const PassMemory &memory = pass.memory();
  check(launch_distill_loss(student, teacher, passage.num_positions * config_.hidden, memory.loss_sums, memory.loss, pass.stream().get()), "the loss");
  const float *gate_gradient = pass.run_backward(student);
  copy_to_host(gradient, gate_gradient, config_.num_gates(), pass.stream());
  copy_to_host(loss, memory.loss, 1, pass.stream());
}

// Matrix products' own memory: cuBLASLt's, and of int8 weights the widest matrix as bf16.
int64_t CudaModel::beside_pass_bytes() const {
  const bool is_int8 = layers_.front().gate_up.quantized.count() > 0;
  return algebra_.workspace_bytes() + (is_int8 ? 2 * std::max(layers_.front().gate_up.rows, layers_.front().qkv.rows) * config_.hidden : 0);
}

int64_t CudaModel::choose_kept_layers(PassSize size) const {
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
  const int64_t free_room = static_cast<int64_t>(free_bytes) + workspace_.bytes();
  const int64_t most_room = static_cast<int64_t>(static_cast<double>(total_bytes) * MOST_OF_DEVICE) - weight_bytes_;
  const int64_t room = std::min(free_room, most_room) - beside_pass_bytes();
  for (size.kept_layers = std::min(config_.layers, most_kept_layers_); size.kept_layers > 0; size.kept_layers--) {
    if (PassMemory::count_bytes(config_, size) <= room) break;
  }
  return size.kept_layers;
}

void CudaModel::estimate_distill(int64_t num_tokens, int64_t num_positions, const HeadWindows &windows, int64_t *memory_bytes, double *operations) {
  select_device();
  *operations = count_distill_operations(config_, num_tokens, num_positions, windows);
  PassSize size{num_tokens, num_positions, PassRole::distill};
  size.kept_layers = choose_kept_layers(size);
  *memory_bytes = PassMemory::count_bytes(config_, size) + beside_pass_bytes();
}

}  // namespace duo::cuda
