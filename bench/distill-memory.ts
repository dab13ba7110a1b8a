// Memory of one distillation step of a shape with random weights: the process's peak beyond its weights, beside what the engine estimated.
// The step is checked first on a short sample: with S + R ≥ T all gates give the loss 0.

import { countDecodeWeights, findShape } from '../src/bench/shapes.ts';
import { makeRandom } from '../src/core/random.ts';
import { filledGrid, type Sample } from '../src/core/shapes.ts';
import type { Engine } from '../src/engine/engine.ts';
import { openRandomNativeEngine } from '../src/engine/native/native-engine.ts';
import { AbortedError } from '../src/errors/errors.ts';
import type { Bench } from './bench.ts';

const BYTES_PER_GB = 1e9;
const SUPERVISED_TOKENS = 64;
/** Abort after so long, in different parts of a step. */
const ABORT_DELAYS_MS = [300, 1100, 2300, 3700];

export const bench: Bench = {
  about: 'peak memory and time of one distillation step, native engine on the CPU',
  flags: {
    shape: { default: 'llama-3.2-1b', about: 'named shape' },
    layers: { default: 'all', about: 'keep this many layers' },
    tokens: { default: '4096', about: 'tokens of the sample' },
    threads: { default: '2', about: 'CPU threads' },
  },
  async run(flags) {
    const { shape: name = '', layers = 'all' } = flags;
    const tokens = Number(flags.tokens);
    const config = findShape(name, layers === 'all' ? {} : { layers: Number(layers) });
    const { shape } = config;
    const threads = Number(flags.threads);
    const engine = await openRandomNativeEngine(config, { seed: 42, weightDtype: 'bf16', threads });
    const random = makeRandom(42, 'distill-memory');
    const makeSample = (length: number) => ({
      tokens: Array.from({ length }, () => random.integer(shape.vocab)),
      answers: [[length - Math.min(SUPERVISED_TOKENS, length - 1), length]] as [number, number][],
    });
    const gates = filledGrid(shape.layers, shape.kvHeads, 0.5);
    const { loss: lawLoss } = await engine.distill(makeSample(96), gates, { sinkTokens: 32, recentTokens: 64 });
    if (lawLoss > 1e-8) throw new Error(`Expected loss 0 where every key is visible, got ${lawLoss}`);
    const weightBytes = 2 * countParameters(config);
    const startMs = performance.now();
    const { loss } = await engine.distill(makeSample(tokens), gates, { sinkTokens: 128, recentTokens: 256 });
    const seconds = (performance.now() - startMs) / 1000;
    const peakBytes = process.resourceUsage().maxRSS * 1024;
    const estimate = engine.estimate(tokens);
    const abortMs: number[] = [];
    for (const delayMs of ABORT_DELAYS_MS) abortMs.push(await measureAbort(engine, makeSample(tokens), delayMs));
    await engine.close();
    const table = [
      `${name}, ${shape.layers} layers, ${tokens} tokens: ${seconds.toFixed(1)} s per step, ${(estimate.operations / seconds / 1e9).toFixed(0)} GFLOP/s, loss ${loss.toPrecision(4)}`,
      `peak of the process ${(peakBytes / BYTES_PER_GB).toFixed(2)} GB, weights ${(weightBytes / BYTES_PER_GB).toFixed(2)} GB, beyond them ${((peakBytes - weightBytes) / BYTES_PER_GB).toFixed(2)} GB; estimated ${(estimate.memoryBytes / BYTES_PER_GB).toFixed(2)} GB`,
      `an abort in the middle of a step returned after ${abortMs.map((ms) => ms.toFixed(0)).join(', ')} ms`,
    ].join('\n');
    return { table, figures: { seconds, peakBytes, weightBytes, estimate, loss, abortMs } };
  },
};

/** Milliseconds from the abort of a step to its end. @throws {Error} the step ended before. */
async function measureAbort(engine: Engine, sample: Sample, delayMs: number): Promise<number> {
  const { layers, kvHeads } = engine.model;
  const controller = new AbortController();
  let abortedMs = 0;
  const timer = setTimeout(() => {
    abortedMs = performance.now();
    controller.abort();
  }, delayMs);
  try {
    const window = { sinkTokens: 128, recentTokens: 256 };
    await engine.distill(sample, filledGrid(layers, kvHeads, 0.5), window, { signal: controller.signal });
  } catch (error) {
    if (error instanceof AbortedError) return performance.now() - abortedMs;
    throw error;
  } finally {
    clearTimeout(timer);
  }
  throw new Error(`Expected a step longer than ${delayMs} ms; give more --tokens`);
}

/** All parameters: what a decode step reads, and the embedding table where it is not read as the head. */
function countParameters(config: Parameters<typeof countDecodeWeights>[0]): number {
  const embedding = config.tiedEmbeddings ? 0 : config.shape.vocab * config.shape.hidden;
  return countDecodeWeights(config) + embedding;
}
