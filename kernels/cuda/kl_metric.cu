// The KL metric of a CUDA model, on the CPU: it is applied to differences in host memory, and its cost is that of a few
// rows of logits.
#include "core/kl_metric.h"

#include "cpu/cpu_features.h"
#include "cuda/cuda_model.h"

namespace duo::cuda {

void CudaModel::use_kl_metric(const float *reference, const float *anchor, int64_t num_positions, Task &task,
                              const std::function<void(const KlMetric &)> &body) {
  ThreadPool pool(count_usable_cpus());
  const CpuContext context{pool, choose_simd_ops(""), DUO_COMPUTE_ACCURATE, &task};
  const Linear lm_head{weights_->get("lm_head.weight"), {}};
  body(KlMetric(context, lm_head, reference, anchor, num_positions));
}

}  // namespace duo::cuda
