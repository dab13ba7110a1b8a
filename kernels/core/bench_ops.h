// The operations that duo_bench_op knows, and what `sizes` means for each. A backend adds its own here.
//   "matmul_f32"   cpu: rows, columns, depth of y[rows, columns] = x[rows, depth]·wᵀ, fp32 weights
//   "matmul_bf16"  cpu: the same with bf16 weights, fp32 products
#pragma once
