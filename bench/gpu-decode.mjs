// How decode's kernels are best cut to a card: each choice of warps, stages and blocks per multiprocessor, checked, then timed. For finding the
// defaults in kernels/cuda; `bench/gpu.mjs` times those. Runs on the compiled JavaScript:
//   node bench/gpu-decode.mjs [attention] [product] [step] [KV type …]
// attention: decode_attention at 128K, H32/G8/D128, by KV type and retrieval heads, with a choice of warps, stages, blocks per multiprocessor.
// product: vector_product of the llama-3-8b layers, with a choice of stages, blocks per multiprocessor.
// step: whole steps of eight of llama-3-8b's layers, with and without DUO_DEPENDENT_LAUNCH=0.
// A choice of 0 is the kernel's own.
import { median } from '../dist/src/core/numbers.js';
import { benchOp } from './duo-bench.mjs';

const parts = process.argv.slice(2);
const PARTS = ['attention', 'product', 'step'];
const wants = (part) => !parts.some((given) => PARTS.includes(given)) || parts.includes(part);
/** Bytes of a key or value vector of 128 elements with its scale; k8v4: the mean of both. */
const ROW = { bf16: 256, int8: 132, fp8: 132, int4: 68, k8v4: 100 };
const unknown = parts.find((part) => !PARTS.includes(part) && !(part in ROW));
if (unknown !== undefined) {
  console.error(`Expected ${[...PARTS, ...Object.keys(ROW)].join(', ')}, got \`${unknown}\`.`);
  process.exit(2);
}
const LLAMA = { heads: 32, kv_heads: 8, head_dim: 128, sink: 128, recent: 256 };

async function time(label, op, sizes, bytes) {
  try {
    const { seconds, relativeError } = await benchOp(op, sizes, { device: 'cuda:0', repeats: 20 });
    const sorted = [...seconds].sort((a, b) => a - b);
    const typical = median(seconds);
    console.log(
      `${label.padEnd(44)} ${(typical * 1e6).toFixed(1).padStart(8)} µs, best ${(sorted[0] * 1e6).toFixed(1).padStart(8)}  ${(bytes / typical / 1e12).toFixed(2)} TB/s  error ${relativeError.toExponential(1)}`,
    );
  } catch (error) {
    console.log(`${label.padEnd(44)} ${error.message}`);
  }
}

if (wants('attention')) {
  const storages = Object.keys(ROW).filter((dtype) => parts.includes(dtype));
  for (const dtype of storages.length > 0 ? storages : Object.keys(ROW)) {
    const choices = [
      [0, 0, 0],
      [8, 2, 1],
      [8, 3, 1],
      [8, 4, 1],
      [4, 2, 2],
      [4, 3, 2],
    ];
    for (const retrieval of dtype === 'bf16' ? [8, 4, 2] : [8, 2]) {
      const entries = retrieval * 131072 + (8 - retrieval) * 384;
      for (const choice of choices) {
        const [warps, stages, blocks] = choice;
        await time(
          `attention ${dtype} ${retrieval} of 8 heads: ${choice}`,
          'decode_attention',
          { ...LLAMA, tokens: 131072, retrieval, dtype, warps, stages, blocks },
          2 * ROW[dtype] * entries,
        );
      }
    }
  }
}
if (wants('product')) {
  for (const [outputs, depth] of [
    [6144, 4096],
    [4096, 4096],
    [28672, 4096],
    [4096, 14336],
    [128256, 4096],
  ]) {
    for (const batch of [1, 4, 8]) {
      for (const choice of batch > 1
        ? [[0, 0]]
        : [
            [0, 0],
            [3, 1],
            [4, 1],
            [2, 2],
          ])
        await time(
          `product ${outputs}x${depth} batch ${batch}: ${choice}`,
          'vector_product',
          { outputs, depth, batch, stages: choice[0], blocks: choice[1] },
          2 * outputs * depth,
        );
    }
  }
}
if (wants('step')) {
  const LAYERS = 8;
  const weights = 2 * (LAYERS * (6144 * 4096 + 4096 * 4096 + 3 * 14336 * 4096) + 128256 * 4096);
  for (const launch of ['dependent', 'ordinary']) {
    process.env.DUO_DEPENDENT_LAUNCH = launch === 'ordinary' ? '0' : '1';
    for (const [tokens, retrieval] of [
      [8192, 4],
      [131072, 8],
      [131072, 4],
      [131072, 2],
    ])
      await time(
        `step, ${LAYERS} layers, ${tokens}, ${retrieval} of 8 heads: ${launch} launches`,
        'decode_step',
        {
          ...LLAMA,
          layers: LAYERS,
          hidden: 4096,
          intermediate: 14336,
          vocab: 128256,
          tokens,
          retrieval,
          dtype: 'bf16',
          batch: 1,
        },
        weights + LAYERS * 512 * (retrieval * tokens + (8 - retrieval) * 384),
      );
  }
}
