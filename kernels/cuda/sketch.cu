// The sketch of a ladder of windows is not computed here; a caller probes window by window.
#include "cuda/cuda_model.h"

namespace duo::cuda {

void CudaModel::sketch(const Passage &, const float *, int64_t, const int64_t *, int64_t, int64_t, Task &, float *) {
  fail(DUO_STATUS_UNSUPPORTED, "Expected a CPU device for a sketch, got `%s`; probe each window instead", device_.c_str());
}

}  // namespace duo::cuda
