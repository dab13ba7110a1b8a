// The noise floor of a measurement: how far apart two runs end that are equal but for rounding, in the units of the effects. With a window
// that hides nothing both branches of every head are the same numbers x, and a gate of one third makes x·⅓ + x·⅔ of them: in real
// arithmetic x again, in the machine's x rounded otherwise, in every head of every layer. (The tensorflow engine mixes only in the block of
// rows that the window touches at all, which is the last one.)
import type { GateGrid, Sample } from '../../src/core/shapes.ts';
import { filledGrid } from '../../src/core/shapes.ts';
import type { Noise } from '../../src/formats/noise.ts';
import { findProbeStep, type ProbeStep, type ProbingEngine } from './measure-sample.ts';

/** No power of two, so that products with it and with one minus it are rounded. */
const SPLIT_GATE = 1 / 3;
/** An effect holds the noise of both its runs, so that one of nothing at all comes out near the floor and as often above it as below:
 * heads count as below it up to twice its size in amplitude. */
const MARGIN = 4;

/** Distance of one sample: mean over the positions that predict an answer token and C of (h(all full) − h(all full, rounded otherwise))².
 * Two forward passes. Deterministic. @throws {AbortedError}; {EngineError}. */
export async function measureRounding(
  sample: Sample,
  options: { readonly engine: ProbingEngine; readonly signal?: AbortSignal | undefined },
): Promise<number> {
  const { engine, signal } = options;
  const { layers, kvHeads } = engine.model;
  // Hides the first token from the last one alone, which predicts no answer and which no other token sees. A window that hides nothing at
  // all may be taken for full attention and leave nothing to mix.
  const window = { sinkTokens: 0, recentTokens: sample.tokens.length - 1 };
  const compute = (gates: GateGrid | 'full'): Promise<Float32Array> =>
    engine.computeHidden(sample, gates, window, { supervise: 'predict', ...(signal ? { signal } : {}) });
  const full = await compute('full');
  const other = await compute(filledGrid(layers, kvHeads, SPLIT_GATE));
  return full.reduce((sum, value, index) => sum + (value - (other[index] as number)) ** 2, 0) / full.length;
}

/** Noise of a run: the floor over its samples, and the heads whose effect does not stand above it.
 * @param options.distances of the samples.  @param options.effects `[N]`, of closing each head alone, per unit of closing as measured. */
export function describeNoise(options: {
  readonly distances: readonly number[];
  readonly effects: Float64Array;
  readonly step: ProbeStep;
  readonly kvHeads: number;
}): Noise {
  const { distances, effects, step, kvHeads } = options;
  const distance = distances.reduce((sum, value) => sum + value, 0) / distances.length;
  // A small step is scaled up to a whole one, and its noise with it.
  const floor = distance / findProbeStep(step) ** 2;
  const below = Array.from(effects, (effect, head): [number, number] | null =>
    effect > MARGIN * floor ? null : [Math.floor(head / kvHeads), head % kvHeads],
  ).filter((head) => head !== null);
  return { floor, below };
}
