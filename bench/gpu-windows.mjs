// Decode and prefill of the llama-3-8b shape (random weights) on cuda:0 under two masks of equal KV entries: heads full or of one window of 256 tokens,
// and windows of 256, 512 … a quarter of the context with some heads full, drawn over the heads by a seed. Steps alternate, so that what else the
// card does meets both; the rates by bytes read should be one. Prefill is held to its visible scores: time minus that of linear layers, by full
// attention and the share of its scores. Laws are checked first. Runs on the compiled JavaScript:
//   node bench/gpu-windows.mjs [--json] [--small] [context] [prefill tokens]     --small: a tiny shape, for the emulation

import { measureContext } from '../dist/src/bench/session-bench.js';
import { checkSessions } from '../dist/src/bench/session-checks.js';
import { countDecodeWeights, findShape } from '../dist/src/bench/shapes.js';
import { countEntries, measureKvShare } from '../dist/src/core/kv-cost.js';
import { median } from '../dist/src/core/numbers.js';
import { makeRandom } from '../dist/src/core/random.js';
import { openRandomNativeEngine } from '../dist/src/engine/native/native-engine.js';
import { measureDevice } from '../dist/src/native/devices.js';
import { countPrefillOperations } from '../dist/src/runtime/operations.js';

const device = 'cuda:0';
const SHARE = 0.25;
const SINK = 128;
const RECENT = 256;
const isSmall = process.argv.includes('--small');
const numbers = process.argv.slice(2).filter((value) => !value.startsWith('--'));
const context = Number(numbers[0] ?? (isSmall ? 3072 : 131072));
const prefillTokens = Number(numbers[1] ?? (isSmall ? 300 : 32768));
const steps = isSmall ? 2 : 32;

const named = findShape('llama-3-8b', isSmall ? { layers: 1 } : {});
const small = { heads: 8, headDim: 32, hidden: 64, intermediate: 96, vocab: 64 };
const config = isSmall ? { ...named, shape: { ...named.shape, ...small } } : named;
const { layers, kvHeads, headDim, vocab } = config.shape;
const numHeads = layers * kvHeads;

/** `windows` (null = full) over the heads in an order drawn by a seed. */
function spread(windows) {
  const order = makeRandom(42, 'windows').shuffle(windows);
  const rows = Array.from({ length: layers }, (_, layer) => order.slice(layer * kvHeads, (layer + 1) * kvHeads));
  return { sinkTokens: SINK, windows: rows };
}
/** As many heads full as the share allows, the others on the rungs by turns. */
function fillShare(rungs) {
  const make = (full) =>
    Array.from({ length: numHeads }, (_, head) => (head < full ? null : rungs[head % rungs.length]));
  let full = 0;
  while (full < numHeads && measureKvShare(spread(make(full + 1)), context) <= SHARE) full++;
  return spread(make(full));
}
const rungs = [];
for (let window = RECENT; window <= context / 4; window *= 2) rungs.push(window);
const masks = { binary: fillShare([RECENT]), ladder: fillShare(rungs) };

const copy = await measureDevice('copy-bandwidth', { device });
const engine = await openRandomNativeEngine(config, { seed: 42, weightDtype: 'bf16', device });
const rows = [];
for (const kvDtype of isSmall ? ['int8'] : ['bf16', 'int8']) {
  for (const [name, mask] of Object.entries(masks)) {
    for (const check of await checkSessions(engine, { mask, kvDtype })) {
      if (!check.holds)
        throw new Error(`Expected that ${name}: ${check.law} within ${check.limit}, got ${check.error}`);
    }
  }
  const figures = await measureContext(engine, {
    context,
    masks,
    kvDtype,
    steps,
    batch: 1,
    feedsContext: false,
    seed: 1,
  });
  for (const [name, { stepSeconds, kvBytes }] of Object.entries(figures)) {
    const bytes = 2 * countDecodeWeights(config) + kvBytes;
    const seconds = median(stepSeconds);
    const share = measureKvShare(masks[name], context);
    rows.push({
      name,
      kvDtype,
      share,
      entries: countEntries(masks[name], context),
      kvBytes,
      seconds,
      rate: bytes / seconds,
    });
  }
}

const text = Array.from({ length: prefillTokens }, (_, index) => (index * 7919 + 42) % vocab);
async function timePrefill(mask) {
  const options = { maxTokens: prefillTokens, kvDtype: 'bf16', chunkTokens: prefillTokens };
  const session = await engine.openSession(mask, options);
  try {
    const startMs = performance.now();
    await session.prefill(text);
    return (performance.now() - startMs) / 1000;
  } finally {
    await session.close();
  }
}
const narrow = { sinkTokens: 0, windows: masks.ladder.windows.map((row) => row.map(() => 1)) };
const prefilled = { full: 'full', narrow, ...masks };
const seconds = Object.fromEntries(Object.keys(prefilled).map((name) => [name, []]));
// The first round allocates and plans, and does not count.
for (let round = 0; round <= (isSmall ? 1 : 3); round++) {
  for (const [name, mask] of Object.entries(prefilled)) {
    const taken = await timePrefill(mask);
    if (round > 0) seconds[name].push(taken);
  }
}
await engine.close();
const scoresOf = (mask) => countPrefillOperations({ config, mask, tokens: prefillTokens }).attention;
const base = median(seconds.narrow);
const prefill = Object.entries(prefilled).map(([name, mask]) => {
  const scores = (scoresOf(mask) - scoresOf(narrow)) / (scoresOf('full') - scoresOf(narrow));
  const time = (median(seconds[name]) - base) / (median(seconds.full) - base);
  return { name, seconds: median(seconds[name]), shareOfScores: scores, shareOfTime: time };
});

const percent = (share) => `${(100 * share).toFixed(1)} %`;
if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ context, prefillTokens, rungs, copyBandwidth: copy, headDim, rows, prefill }, null, 2));
} else {
  for (const row of rows) {
    console.log(
      `${row.name.padEnd(7)} ${row.kvDtype} ${context} tokens: ${percent(row.share)} of the entries, ${(1000 * row.seconds).toFixed(2)} ms per step, ${(row.rate / 1e12).toFixed(2)} TB/s, ${percent(row.rate / copy)} of copy`,
    );
  }
  for (const row of prefill) {
    console.log(
      `${row.name.padEnd(7)} prefill of ${prefillTokens}: ${row.seconds.toFixed(3)} s; of full attention's part ${percent(row.shareOfTime)} of the time, ${percent(row.shareOfScores)} of the scores`,
    );
  }
}
