// Prefill of the llama-3-8b shape (random weights) on cuda:0 in one chunk as long as the context: all heads full, all streaming, every second head
// streaming. From the first two follow the parts: t(full) = t_linear + t_attention, t(streaming) = t_linear + t_window. With half of the heads
// streaming the best is t_linear + t_attention/2 + t_window/2, the mean of the two; the bound that is aimed at counts the window in full. Laws are
// checked first. Runs on the compiled JavaScript: node bench/gpu-prefill.mjs [--json] [tokens]

import { checkSessions } from '../dist/src/bench/session-checks.js';
import { findShape } from '../dist/src/bench/shapes.js';
import { makeHeadMask } from '../dist/src/core/head-mask.js';
import { median } from '../dist/src/core/numbers.js';
import { openRandomNativeEngine } from '../dist/src/engine/native/native-engine.js';
import { measureDevice } from '../dist/src/native/devices.js';
import { countPrefillOperations } from '../dist/src/runtime/operations.js';
import { benchOp } from './duo-bench.mjs';

const device = 'cuda:0';
const tokens = Number(process.argv.slice(2).find((value) => !value.startsWith('--')) ?? 131072);
const window = { sinkTokens: 128, recentTokens: 256 };
const REPEATS = 3;

const config = findShape('llama-3-8b');
const { layers, heads, kvHeads, headDim, vocab } = config.shape;
const matrix = await measureDevice('matmul-bf16', { device });
const engine = await openRandomNativeEngine(config, { seed: 42, weightDtype: 'bf16', device });
const makeMask = (isRetrieval) =>
  makeHeadMask(
    Array.from({ length: layers }, (_, layer) =>
      Array.from({ length: kvHeads }, (_, head) => Number(isRetrieval(layer, head))),
    ),
    window,
  );
const masks = {
  full: 'full',
  streaming: makeMask(() => false),
  half: makeMask((layer, head) => (layer + head) % 2 === 1),
};
for (const check of await checkSessions(engine, { mask: masks.half, kvDtype: 'bf16' })) {
  if (!check.holds) throw new Error(`Expected that ${check.law} within ${check.limit}, got ${check.error}`);
}

const text = Array.from({ length: tokens }, (_, index) => (index * 7919 + 42) % vocab);
async function timePrefill(mask) {
  const session = await engine.openSession(mask, { maxTokens: tokens, kvDtype: 'bf16', chunkTokens: tokens });
  try {
    const startMs = performance.now();
    await session.prefill(text);
    return (performance.now() - startMs) / 1000;
  } finally {
    await session.close();
  }
}
// In turn, so that what changes on the card meets all alike; the first round allocates and plans, and does not count.
const seconds = { full: [], streaming: [], half: [] };
for (let round = 0; round <= REPEATS; round++) {
  for (const name of Object.keys(masks)) {
    const taken = await timePrefill(masks[name]);
    if (round > 0) seconds[name].push(taken);
  }
}
await engine.close();
const typical = { full: median(seconds.full), streaming: median(seconds.streaming), half: median(seconds.half) };

// The window's own time, by its kernel: 1 = the streaming branch.
const attention = async (branch) => {
  const sizes = {
    tokens,
    heads,
    kv_heads: kvHeads,
    head_dim: headDim,
    sink: window.sinkTokens,
    recent: window.recentTokens,
    branch,
  };
  return layers * median((await benchOp('attention_forward', sizes, { device, repeats: 3 })).seconds);
};
const windowSeconds = await attention(1);
const linearSeconds = typical.streaming - windowSeconds;
const attentionSeconds = typical.full - linearSeconds;
const speedup = typical.full / typical.half;
const bound = typical.full / (linearSeconds + attentionSeconds / 2 + windowSeconds);
const mean = (typical.full + typical.streaming) / 2;
const rows = Object.entries(masks).map(([name, mask]) => {
  const { linear, attention: pairs } = countPrefillOperations({ config, mask, tokens });
  return { name, seconds: typical[name], all: seconds[name], rate: (linear + pairs) / typical[name] };
});
const summary = {
  linearSeconds,
  attentionSeconds,
  windowSeconds,
  speedup,
  bound,
  shareOfBound: speedup / bound,
  shareOfMean: mean / typical.half,
};
if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ tokens, matrixRate: matrix, rows, ...summary }, null, 2));
} else {
  for (const row of rows) {
    console.log(
      `${row.name.padEnd(10)} ${row.seconds.toFixed(3)} s, ${(row.rate / 1e12).toFixed(0)} TFLOP/s, ${((100 * row.rate) / matrix).toFixed(0)} % of ${(matrix / 1e12).toFixed(0)}`,
    );
  }
  console.log(
    `parts: linear ${linearSeconds.toFixed(3)} s, full attention ${attentionSeconds.toFixed(3)} s, window ${windowSeconds.toFixed(3)} s`,
  );
  console.log(
    `half of the heads streaming: ${speedup.toFixed(3)}× full; ${(100 * summary.shareOfBound).toFixed(1)} % of the bound ${bound.toFixed(3)}×`,
  );
  console.log(
    `the mean of all full and all streaming is ${(100 * summary.shareOfMean).toFixed(1)} % of the time with half streaming`,
  );
}
