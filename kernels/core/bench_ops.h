// The operations that duo_bench_op knows, and what `sizes` means for each. A backend adds its own here.
//   "matmul_f32"   cpu: rows, columns, depth of y[rows, columns] = x[rows, depth]·wᵀ, fp32 weights
//   "matmul_bf16"  cpu: the same with bf16 weights, fp32 products; cuda: the same, bf16 products (cuBLASLt where present)
//   "matmul_bf16_own"    cuda: the same by the project's own kernel
//   "vector_product"     cuda: outputs, depth, batch: the linear layer of decode; then, 0 for the kernel's own choice: stages, blocks a
//                        multiprocessor
//   "decode_attention"   cuda: H, G, D, cached tokens, retrieval heads, S, R, KV dtype code: one layer, one new token, cold L2;
//                        then, 0 for the kernel's own choice: warps a block, stages, blocks a multiprocessor
//   "decode_step"        cuda: layers, H, G, D, hidden, intermediate, vocabulary, cached tokens, retrieval heads a layer, S, R, KV dtype code, batch:
//                        a whole step of a model of random weights, as a caller sees it
//   "attention_forward"  cuda: tokens, H, G, D, S, R, branch (0 full, 1 streaming, 2 both)
//   "attention_backward" cuda: tokens, H, G, D, S, R, gates (0 all 1, 1 all 0, 2 all 0.5)
#pragma once
