// Memory of one distillation step of a shape with random weights: the process's peak beyond its weights, beside what the engine estimated.
// The step is checked first on a short sample: with S + R ≥ T all gates give the loss 0.
import { makeRandom } from '../src/core/random.ts';
import { filledGrid } from '../src/core/shapes.ts';
import { openRandomNativeEngine } from '../src/engine/native/native-engine.ts';
import { countDecodeWeights, findShape } from '../src/runtime/shapes.ts';
import type { Bench } from './run.ts';

const BYTES_PER_GB = 1e9;
const SUPERVISED_TOKENS = 64;

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
    await engine.close();
    const table = [
      `${name}, ${shape.layers} layers, ${tokens} tokens: ${seconds.toFixed(1)} s a step, ${(estimate.operations / seconds / 1e9).toFixed(0)} GFLOP/s, loss ${loss.toPrecision(4)}`,
      `peak of the process ${(peakBytes / BYTES_PER_GB).toFixed(2)} GB, weights ${(weightBytes / BYTES_PER_GB).toFixed(2)} GB, beyond them ${((peakBytes - weightBytes) / BYTES_PER_GB).toFixed(2)} GB; estimated ${(estimate.memoryBytes / BYTES_PER_GB).toFixed(2)} GB`,
    ].join('\n');
    return { table, figures: { seconds, peakBytes, weightBytes, estimate, loss } };
  },
};

/** All parameters: what a decode step reads, and the embedding table where it is not read as the head. */
function countParameters(config: Parameters<typeof countDecodeWeights>[0]): number {
  const embedding = config.tiedEmbeddings ? 0 : config.shape.vocab * config.shape.hidden;
  return countDecodeWeights(config) + embedding;
}
