// Kernels of cuda:0 one by one: each checked against fp64 on the host, then timed, beside the card's measured bandwidth and matrix rate, so that
// each row says how far from the floor it is. Runs on the compiled JavaScript: node bench/gpu.mjs [--json] [--small] [--only op,op]
// What an op takes, also to choose how its kernel is tiled: kernels/bench/ops.h; bench/gpu-decode.mjs tries choices.
import { median } from '../dist/src/core/numbers.js';
import { measureDevice } from '../dist/src/native/devices.js';
import { benchOp } from './duo-bench.mjs';

const device = 'cuda:0';
const isSmall = process.argv.includes('--small');
const onlyAt = process.argv.indexOf('--only');
const only = onlyAt < 0 ? null : (process.argv[onlyAt + 1] ?? '').split(',');
/** Largest error of an op whose operands are rounded to bf16: 2^-9 of its output, and of its softmax weights. */
const LIMIT = 2e-2;
const SINK = 128;
const RECENT = 256;
/** Bytes of one element and of a vector's scale, by KV type; k8v4: the mean of a key's and a value's. */
const FORMATS = { bf16: [2, 0], int8: [1, 4], fp8: [1, 4], int4: [0.5, 4], k8v4: [0.75, 4] };

const copy = await measureDevice('copy-bandwidth', { device });
const matrix = await measureDevice('matmul-bf16', { device });
const [heads, kvHeads, headDim] = isSmall ? [4, 2, 32] : [32, 8, 128];
const shape = { heads, kv_heads: kvHeads, head_dim: headDim, sink: SINK, recent: RECENT };
const contexts = isSmall ? [300] : [32768, 131072];
const lengths = isSmall ? [130] : [8192, 32768];

const cases = [];
for (const context of contexts) {
  for (const retrieval of [kvHeads, kvHeads / 2, Math.max(1, kvHeads / 4)]) {
    const entries = retrieval * context + (kvHeads - retrieval) * Math.min(context, SINK + RECENT);
    for (const [dtype, [element, scale]] of Object.entries(FORMATS)) {
      cases.push({
        op: 'decode_attention',
        sizes: { ...shape, tokens: context, retrieval, dtype },
        bytes: 2 * (element * headDim + scale) * entries + 4 * heads * headDim,
      });
    }
  }
}
// Windows of half the context, a quarter … beside the mask of as many entries whose heads are full or have one window: the rates should be one.
const longest = contexts.at(-1);
for (const dtype of Object.keys(FORMATS)) {
  const [element, scale] = FORMATS[dtype];
  const windows = Array.from({ length: kvHeads - 1 }, (_, head) => longest >> (head + 1));
  const entries = windows.reduce((sum, window) => sum + Math.min(longest, SINK + window), longest);
  cases.push({
    op: 'decode_attention',
    sizes: { ...shape, tokens: longest, retrieval: 1, dtype, ladder: 1 },
    bytes: 2 * (element * headDim + scale) * entries + 4 * heads * headDim,
  });
}
for (const tokens of lengths) {
  const full = 4 * heads * headDim * ((tokens * tokens) / 2);
  const window = 4 * heads * headDim * tokens * Math.min(tokens, SINK + RECENT);
  for (const [branch, operations] of [full, window, full + window].entries())
    cases.push({ op: 'attention_forward', sizes: { ...shape, tokens, branch }, operations });
  // Keys that the queries of a head with window w see, sinks included, the early rows' missing ones not counted.
  const pairs = (w) => (w >= tokens ? tokens ** 2 / 2 : (w * w) / 2 + (tokens - w) * w);
  const ladder = Array.from({ length: kvHeads }, (_, head) => pairs(SINK + (tokens >> (head + 1))));
  const operations = ((4 * heads * headDim) / kvHeads) * ladder.reduce((sum, count) => sum + count, 0);
  cases.push({ op: 'attention_forward', sizes: { ...shape, tokens, branch: 1, ladder: 1 }, operations });
  for (const [gates, operations] of [full, window, full].entries())
    cases.push({
      op: 'attention_backward',
      sizes: { ...shape, tokens, gates },
      operations: 2.5 * operations,
    });
}
const linear = isSmall
  ? [[64, 64]]
  : [
      [6144, 4096],
      [28672, 4096],
      [4096, 14336],
      [128256, 4096],
    ];
for (const [outputs, depth] of linear)
  cases.push({ op: 'vector_product', sizes: { outputs, depth, batch: 1 }, bytes: 2 * outputs * depth });
// Decode's products by weight format and sessions: up to 8 by the one kernel, from 8 on by the other. bf16 of more than 8 are cuBLASLt's in a step, where it
// is found; its product of the same shape stands beside.
const BITS = { bf16: 16, int8: 8, int4: 5, scaled8: 9, affine8: 10 };
const batches = isSmall ? [2, 8, 20] : [1, 8, 16, 32, 64];
// The vocabulary's rows are left out: a gigabyte per row to make, and the rate is that of gate and up.
for (const [outputs, depth] of linear.filter(([outputs]) => outputs < 100000)) {
  for (const [weights, bits] of Object.entries(BITS)) {
    for (const batch of batches) {
      const bytes = (bits * outputs * depth) / 8 + batch * (2 * depth + 4 * outputs);
      const sizes = { outputs, depth, batch, weights };
      if (batch <= 8 && !(batch === 1 && weights === 'bf16')) cases.push({ op: 'vector_product', sizes, bytes });
      if (batch >= 8) cases.push({ op: 'skinny_product', sizes, bytes });
      if (batch > 8 && weights === 'bf16')
        cases.push({ op: 'matmul_bf16', sizes: { rows: batch, columns: outputs, depth }, bytes });
    }
  }
}
for (const op of ['matmul_bf16', 'matmul_bf16_own']) {
  const [rows, columns, depth] = isSmall ? [130, 64, 64] : [8192, 14336, 4096];
  cases.push({ op, sizes: { rows, columns, depth }, operations: 2 * rows * columns * depth });
}

const ops = new Set(cases.map(({ op }) => op));
const unknown = only?.find((op) => !ops.has(op));
if (unknown !== undefined) {
  console.error(`Expected --only to name ops of ${[...ops].join(', ')}, got \`${unknown}\``);
  process.exit(2);
}
const rows = [];
let isRight = true;
for (const { op, sizes, bytes, operations } of cases.filter((one) => only === null || only.includes(one.op))) {
  const { seconds, relativeError } = await benchOp(op, sizes, { device, repeats: isSmall ? 2 : 20 });
  const typical = median(seconds);
  const rate = (bytes ?? operations) / typical;
  const share = rate / (bytes === undefined ? matrix : copy);
  isRight &&= relativeError <= LIMIT;
  rows.push({ op, sizes, seconds: typical, relativeError, rate, unit: bytes === undefined ? 'FLOP/s' : 'B/s', share });
}
if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ copyBandwidth: copy, matrixRate: matrix, rows }, null, 2));
} else {
  console.log(`copy ${(copy / 1e12).toFixed(2)} TB/s, bf16 matrix product ${(matrix / 1e12).toFixed(0)} TFLOP/s`);
  for (const row of rows) {
    const rate = `${(row.rate / 1e12).toFixed(2)} T${row.unit}`;
    console.log(
      `${row.op.padEnd(20)} ${Object.values(row.sizes).join(',').padEnd(40)} ${(row.seconds * 1e6).toFixed(0).padStart(9)} µs ${rate.padStart(14)} ${(100 * row.share).toFixed(0).padStart(4)} %  error ${row.relativeError.toExponential(1)}`,
    );
  }
}
if (!isRight) {
  console.error(`Expected every relative error to be at most ${LIMIT}`);
  process.exitCode = 1;
}
