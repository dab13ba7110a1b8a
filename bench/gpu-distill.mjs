// One distillation step of the llama-3-8b shape (random weights) on cuda:0 at several lengths: seconds and operations a second beside the card's
// measured matrix rate, and what the published recipe (2,000 steps over 50 lengths from 1,000 to 32,000) would take by the measured steps.
// Checked first: with S + R ≥ T all gates give the loss 0. Runs on the compiled JavaScript:
// node bench/gpu-distill.mjs [--once] [tokens …]   (--once: one step per length, its planning included; for lengths that take minutes)

import { checkDistill, measureDistill } from '../dist/src/bench/distill-bench.js';
import { findShape } from '../dist/src/bench/shapes.js';
import { openRandomNativeEngine } from '../dist/src/engine/native/native-engine.js';
import { measureDevice } from '../dist/src/native/devices.js';

const device = 'cuda:0';
const isOnce = process.argv.includes('--once');
const lengths = process.argv
  .slice(2)
  .filter((value) => !value.startsWith('--'))
  .map(Number);
if (lengths.length === 0) lengths.push(1024, 4096, 8192, 16384, 32768);
const window = { sinkTokens: 128, recentTokens: 256 };
const REPEATS = isOnce ? 1 : 2;

const config = findShape('llama-3-8b');
const matrix = await measureDevice('matmul-bf16', { device });
const engine = await openRandomNativeEngine(config, { seed: 42, weightDtype: 'bf16', device });
const check = await checkDistill(engine);
if (!check.holds) throw new Error(`Expected that ${check.law} within ${check.limit}, got ${check.error}`);
const points = [];
for (const tokens of lengths) {
  const found = await measureDistill(engine, { tokens, window, repeats: REPEATS, warmsUp: !isOnce, seed: 1 });
  const best = Math.min(...found.seconds);
  const rate = found.operations / best;
  points.push({ tokens, seconds: best });
  const share = ((100 * rate) / matrix).toFixed(0);
  console.log(
    `${String(tokens).padStart(6)} tokens: ${best.toFixed(3)} s per step, ${(rate / 1e12).toFixed(0)} TFLOP/s by the engine's count, ${share} % of ${(matrix / 1e12).toFixed(0)}, ${(found.memoryBytes / 1e9).toFixed(1)} GB with weights, loss ${found.loss.toPrecision(4)}`,
  );
}
await engine.close();

/** Seconds at a length, linear between the measured ones; below the first in proportion. */
function interpolate(tokens) {
  const above = points.findIndex((point) => point.tokens >= tokens);
  if (above < 0) return Number.NaN;
  if (above === 0) return points[0].seconds;
  const [a, b] = [points[above - 1], points[above]];
  return a.seconds + ((tokens - a.tokens) / (b.tokens - a.tokens)) * (b.seconds - a.seconds);
}
if (!isOnce) {
  const recipe = Array.from({ length: 50 }, (_, index) => interpolate(1000 + (31000 * index) / 49));
  const hours = (2000 * recipe.reduce((sum, seconds) => sum + seconds, 0)) / 50 / 3600;
  console.log(`2,000 steps over 50 lengths from 1,000 to 32,000 tokens, by these steps: ${hours.toFixed(2)} hours`);
}
