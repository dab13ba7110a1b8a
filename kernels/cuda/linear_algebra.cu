// cuBLASLt's C interface, declared here since its header need not be there at build time. Handles are opaque; the
// constants and the one struct that is read are those of cublasLt.h of CUDA 12 and 13.
#include "cuda/linear_algebra.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>

namespace duo::cuda {
namespace {

constexpr int32_t COMPUTE_32F = 68, REAL_32F = 0, REAL_16F = 2, REAL_16BF = 14, OP_N = 0, OP_T = 1;
constexpr int DESC_TRANSA = 3, DESC_TRANSB = 4, PREFERENCE_MAX_WORKSPACE_BYTES = 1, PREFERENCE_REDUCTION_SCHEMES = 3;
constexpr uint32_t NO_REDUCTION = 0, ANY_REDUCTION = 7;  // how parts of a sum are brought together
constexpr size_t WORKSPACE_BYTES = size_t{32} << 20;     // what NVIDIA advises for Hopper

struct Algorithm {
  uint64_t data[8];
};
struct HeuristicResult {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

}  // namespace

struct LinearAlgebra::Library {
  using Handle = void *;
  void *file = nullptr;
  Handle handle = nullptr;
  int (*create)(Handle *) = nullptr;
  int (*destroy)(Handle) = nullptr;
  int (*desc_create)(Handle *, int, int) = nullptr;
  int (*desc_destroy)(Handle) = nullptr;
  int (*desc_set)(Handle, int, const void *, size_t) = nullptr;
  int (*layout_create)(Handle *, int, uint64_t, uint64_t, int64_t) = nullptr;
  int (*layout_destroy)(Handle) = nullptr;
  int (*preference_create)(Handle *) = nullptr;
  int (*preference_destroy)(Handle) = nullptr;
  int (*preference_set)(Handle, int, const void *, size_t) = nullptr;
  int (*heuristic)(Handle, Handle, Handle, Handle, Handle, Handle, Handle, int, HeuristicResult *, int *) = nullptr;
  int (*matmul)(Handle, Handle, const void *, const void *, Handle, const void *, Handle, const void *, const void *,
                Handle, void *, Handle, const Algorithm *, void *, size_t, cudaStream_t) = nullptr;

  // A product's shape, prepared once: descriptors and the algorithm that the heuristic puts first.
  struct Plan {
    Handle desc = nullptr, a = nullptr, b = nullptr, c = nullptr;
    Algorithm algorithm{};
    bool is_usable = false;
  };
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, int, int, bool>;
  std::mutex mutex;
  std::map<Key, Plan> plans;

  template <typename F>
  bool bind(F &function, const char *name) {
    function = reinterpret_cast<F>(dlsym(file, name));
    return function != nullptr;
  }
  bool open() {
    for (const char *name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
      if ((file = dlopen(name, RTLD_NOW | RTLD_LOCAL)) != nullptr) break;
    }
    return file != nullptr && bind(create, "cublasLtCreate") && bind(destroy, "cublasLtDestroy") &&
           bind(desc_create, "cublasLtMatmulDescCreate") && bind(desc_destroy, "cublasLtMatmulDescDestroy") &&
           bind(desc_set, "cublasLtMatmulDescSetAttribute") && bind(layout_create, "cublasLtMatrixLayoutCreate") &&
           bind(layout_destroy, "cublasLtMatrixLayoutDestroy") &&
           bind(preference_create, "cublasLtMatmulPreferenceCreate") &&
           bind(preference_destroy, "cublasLtMatmulPreferenceDestroy") &&
           bind(preference_set, "cublasLtMatmulPreferenceSetAttribute") &&
           bind(heuristic, "cublasLtMatmulAlgoGetHeuristic") && bind(matmul, "cublasLtMatmul");
  }
  ~Library() {
    for (auto &[key, plan] : plans) {
      if (plan.desc) desc_destroy(plan.desc);
      for (const Handle layout : {plan.a, plan.b, plan.c}) {
        if (layout) layout_destroy(layout);
      }
    }
    if (handle != nullptr) destroy(handle);
    if (file != nullptr) dlclose(file);
  }

  // Row-major out = left·right is column-major outᵀ = rightᵀ·leftᵀ: `right` is cuBLAS's A.
  Plan make_plan(const Product &p) {
    Plan plan;
    Handle preference = nullptr;
    const int32_t transpose_right = p.right_is_deep ? OP_N : OP_T, transpose_left = OP_N;
    const uint64_t m = static_cast<uint64_t>(p.m), n = static_cast<uint64_t>(p.n), k = static_cast<uint64_t>(p.k);
    HeuristicResult found{};
    int num_found = 0;
    const size_t limit = WORKSPACE_BYTES;
    const uint32_t reductions = p.may_split ? ANY_REDUCTION : NO_REDUCTION;
    const int half = p.half == Half::f16 ? REAL_16F : REAL_16BF;
    const bool ok =
        desc_create(&plan.desc, COMPUTE_32F, REAL_32F) == 0 &&
        desc_set(plan.desc, DESC_TRANSA, &transpose_right, sizeof transpose_right) == 0 &&
        desc_set(plan.desc, DESC_TRANSB, &transpose_left, sizeof transpose_left) == 0 &&
        layout_create(&plan.a, half, p.right_is_deep ? n : k, p.right_is_deep ? k : n, p.right_stride) == 0 &&
        layout_create(&plan.b, half, k, m, p.left_stride) == 0 &&
        layout_create(&plan.c, p.store == Store::half ? half : REAL_32F, n, m, p.out_stride) == 0 &&
        preference_create(&preference) == 0 &&
        preference_set(preference, PREFERENCE_MAX_WORKSPACE_BYTES, &limit, sizeof limit) == 0 &&
        preference_set(preference, PREFERENCE_REDUCTION_SCHEMES, &reductions, sizeof reductions) == 0 &&
        heuristic(handle, plan.desc, plan.a, plan.b, plan.c, plan.c, preference, 1, &found, &num_found) == 0 &&
        num_found == 1;
    if (preference != nullptr) preference_destroy(preference);
    plan.is_usable = ok && found.state == 0 && found.workspace_bytes <= WORKSPACE_BYTES;
    plan.algorithm = found.algorithm;
    return plan;
  }

  bool multiply(const Product &p, const Stream &stream) {
    std::lock_guard<std::mutex> lock(mutex);
    const Key key{p.m,
                  p.n,
                  p.k,
                  p.left_stride,
                  p.right_stride,
                  p.out_stride,
                  p.right_is_deep,
                  static_cast<int>(p.store),
                  static_cast<int>(p.half),
                  p.may_split};
    auto at = plans.find(key);
    if (at == plans.end()) at = plans.emplace(key, make_plan(p)).first;
    const Plan &plan = at->second;
    if (!plan.is_usable) return false;
    const float alpha = p.factor, beta = p.store == Store::add_f32 ? 1.0f : 0.0f;
    return matmul(handle, plan.desc, &alpha, p.right, plan.a, p.left, plan.b, &beta, p.out, plan.c, p.out, plan.c,
                  &plan.algorithm, stream.scratch(static_cast<int64_t>(WORKSPACE_BYTES)), WORKSPACE_BYTES,
                  stream.get()) == 0;
  }
};

std::unique_ptr<LinearAlgebra::Library> LinearAlgebra::open_library(std::string &description) {
#ifdef DUO_EMULATION
  description = "own kernels (emulated)";
  return nullptr;
#else
  const char *wish = std::getenv("DUO_CUBLASLT");
  if (wish != nullptr && wish[0] == '0') {
    description = "own kernels (DUO_CUBLASLT=0)";
    return nullptr;
  }
  auto library = std::make_unique<Library>();
  if (!library->open()) {
    description = "own kernels (libcublasLt was not found on the library path)";
    return nullptr;
  }
  description = "cublasLt";
  return library;
#endif
}

LinearAlgebra::LinearAlgebra(int device_index) : library_(open_library(description_)) {
  if (!library_) return;
  // Where there is no such device, the model that is opened on it says so.
  if (cudaSetDevice(device_index) == cudaSuccess && library_->create(&library_->handle) == 0) return;
  cudaGetLastError();  // no later check is to find this one
  library_.reset();
  description_ = "own kernels (cuBLASLt could not be opened on the device)";
}
std::string LinearAlgebra::describe() {
  std::string description;
  open_library(description);
  return description;
}
LinearAlgebra::~LinearAlgebra() = default;

int64_t LinearAlgebra::workspace_bytes() const { return library_ ? static_cast<int64_t>(WORKSPACE_BYTES) : 0; }

void LinearAlgebra::multiply(const Product &product, const Stream &stream) {
  if (product.m == 0) return;
  if (library_ && library_->multiply(product, stream)) return;
  check(launch_product(product, stream.get()), "a matrix product");
}

}  // namespace duo::cuda
