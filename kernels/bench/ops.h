// The operations that duo_bench times. Each is first held to fp64, on rows spread over its output.
#pragma once
#include <string>
#include <vector>

#include "core/backend.h"

namespace duo::bench {

struct Op {
  const char *name;
  bool is_cuda;
  std::vector<const char *> sizes,
      optional;  // what it takes, in the order in which it finds them; optional ones are 0 where not given: the kernel's own choice
};

inline const std::vector<Op> &list_ops() {
  static const std::vector<Op> ops{
      // y[rows, columns] = x[rows, depth]·wᵀ by the CPU, one product per instruction set and dtype.
      {"matmul_f32", false, {"rows", "columns", "depth"}, {}},
      {"matmul_bf16", false, {"rows", "columns", "depth"}, {}},
      // The same on CUDA in bf16: by cuBLASLt where it is found, and by the project's own kernel.
      {"matmul_bf16", true, {"rows", "columns", "depth"}, {}},
      {"matmul_bf16_own", true, {"rows", "columns", "depth"}, {}},
      // The linear layer of decode: of up to 8 vectors, and of up to 64. weights: bf16, int8, int4, scaled8, affine8.
      {"vector_product", true, {"outputs", "depth", "batch"}, {"weights", "stages", "blocks"}},
      {"skinny_product", true, {"outputs", "depth", "batch"}, {"weights", "stages"}},
      // One layer, one new token, cold L2. blocks: per multiprocessor. ladder 1: streaming heads have windows of
      // tokens/2, tokens/4 … in place of recent.
      {"decode_attention",
       true,
       {"heads", "kv_heads", "head_dim", "tokens", "retrieval", "sink", "recent", "dtype"},
       {"warps", "stages", "blocks", "ladder"}},
      // A whole step of a model of random weights, as a caller sees it.
      {"decode_step",
       true,
       {"layers", "heads", "kv_heads", "head_dim", "hidden", "intermediate", "vocab", "tokens", "retrieval", "sink",
        "recent", "dtype", "batch"},
       {}},
      // ladder: as above, of every head's streaming branch. branch: 0 full, 1 streaming, 2 both; gates: 0 all 1, 1 all
      // 0, 2 all 0.5. Backward is the deltas, the gates' gradient, dQ, dK and dV.
      {"attention_forward", true, {"tokens", "heads", "kv_heads", "head_dim", "sink", "recent", "branch"}, {"ladder"}},
      {"attention_backward", true, {"tokens", "heads", "kv_heads", "head_dim", "sink", "recent", "gates"}, {"ladder"}},
  };
  return ops;
}

// Sizes by the op's order; seconds [num_repeats] and relative_error written. Throws duo::Error.
void run_cpu_op(const OpenOptions &options, const std::string &op, const std::vector<int64_t> &sizes,
                int32_t num_repeats, double *seconds, double *relative_error);
void run_cuda_op(const OpenOptions &options, const std::string &op, const std::vector<int64_t> &sizes,
                 int32_t num_repeats, double *seconds, double *relative_error);

}  // namespace duo::bench
