// The noise floor of a measurement: how far apart two runs end that differ only in rounding, in the units of the effects. With every head
// streaming, no sinks and a narrow window, a token's hidden state depends on few tokens before it, whatever their positions: the same tokens
// moved to the front give the same state in real arithmetic, while rotary positions, and with them every rounding, differ.
import type { Sample } from '../../src/core/shapes.ts';
import { filledGrid } from '../../src/core/shapes.ts';
import type { Distance } from '../../src/engine/engine.ts';
import type { Noise } from '../../src/formats/noise.ts';
import { requireKl } from '../distance.ts';
import { type BalancedSums, countSamples, toMeans } from './balanced-sums.ts';
import { findProbeStep, type ProbeStep, type ProbingEngine } from './measure-sample.ts';

/** Tokens by which the second run is moved to the front. */
const MAX_SHIFT = 64;
/** Last positions of a sample that are compared. */
const MAX_POSITIONS = 256;

/** Distance of one sample: mean square over C of how far the two runs are apart, or their KL divergence, median over its last positions, because without sinks a
 * few states of a deep model can be chaotic and outweigh all others. Two forward passes.
 * @returns null for a sample that is too short for its model's layers. Deterministic. @throws {AbortedError}; {EngineError}. */
export async function measureRounding(
  sample: Sample,
  options: {
    readonly engine: ProbingEngine;
    /** default 'hidden' */
    readonly distance?: Distance;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<number | null> {
  const { engine, distance = 'hidden', signal } = options;
  const { layers, kvHeads } = engine.model;
  const { tokens } = sample;
  const shift = Math.min(MAX_SHIFT, Math.floor(tokens.length / 8));
  const first = Math.max(Math.floor((3 * tokens.length) / 4), tokens.length - MAX_POSITIONS);
  // A state sees R − 1 tokens farther back with each layer; all that it sees must be in both runs.
  const recentTokens = 1 + Math.floor((first - shift) / layers);
  if (shift === 0 || recentTokens < 2) return null;
  const compute = (moved: number): Promise<Float32Array> => {
    // As many tokens as before: dynamic rope scaling depends on the length.
    const shifted = [...tokens.slice(moved), ...tokens.slice(0, moved)];
    const answers: [number, number][] = [[first - moved + 1, tokens.length - moved]];
    const gates = filledGrid(layers, kvHeads, 0);
    const window = { sinkTokens: 0, recentTokens };
    const control = signal ? { signal } : {};
    return engine.computeHidden({ tokens: shifted, answers }, gates, window, { supervise: 'predict', ...control });
  };
  const [states, others] = [await compute(0), await compute(shift)];
  const differences = states.map((value, index) => value - (others[index] as number));
  const positions = states.length / engine.model.hidden;
  const measured =
    distance === 'kl'
      ? await requireKl(engine).klMetric.project({ reference: states }, differences, signal ? { signal } : {})
      : differences;
  const width = measured.length / positions;
  const squares = Array.from({ length: positions }, (_, position) => {
    let sum = 0;
    for (let at = position * width; at < (position + 1) * width; at++) sum += measured[at]! ** 2;
    return distance === 'kl' ? sum : sum / width;
  }).sort((a, b) => a - b);
  return squares[Math.floor(squares.length / 2)] as number;
}

/** Noise of a run: the floor over its samples, and the heads whose effect is not above it; null where no sample gave a distance.
 * @param options.distances of the samples that gave one.  @param options.balance the weight by which long-range effects were combined with the others.  @param options.effects `[N]`, of closing each head alone, per unit of closing as measured. */
export function describeNoise(options: {
  readonly distances: BalancedSums;
  readonly balance: number;
  readonly effects: Float64Array;
  readonly step: ProbeStep;
  readonly kvHeads: number;
}): Noise | null {
  const { distances, balance, effects, step, kvHeads } = options;
  if (countSamples(distances) === 0) return null;
  const distance = toMeans(distances, balance)[0] as number;
  // A small step is scaled up to a whole one, and its noise with it.
  const floor = distance / findProbeStep(step) ** 2;
  const below = Array.from(effects, (effect, head): [number, number] | null =>
    effect > floor ? null : [Math.floor(head / kvHeads), head % kvHeads],
  ).filter((head) => head !== null);
  return { floor, below };
}
