// Brings the losses of gate optimisation to one scale. The penalty's weight λ is set for the mean square change of hidden states, so that a KL
// divergence is multiplied by what makes both equal where every head streams; and losses of samples of two objectives by what makes those
// equal there, so that neither drowns the other.
import { filledGrid, type Sample, type Supervise, type Window } from '../src/core/shapes.ts';
import type { Distance, Engine } from '../src/engine/engine.ts';
import { chooseDistance, type DistanceRule, isLongRangeSample } from './distance.ts';

/** How many of a run's first samples are looked at. */
const MAX_LOOKED_AT = 8;
/** Samples of each kind that scales are measured on. */
const SAMPLES_OF_A_KIND = 2;

/** Factors of the losses of long-range samples and of all others. */
export interface LossScales {
  readonly plain: number;
  readonly long: number;
}

/** Measure the scales on the first samples: two distillation steps per sample at most, none where hidden states measure samples of one kind.
 * Deterministic. @throws as `engine.distill`. */
export async function measureLossScales(options: {
  readonly engine: Engine;
  readonly sampleAt: (step: number) => Sample | Promise<Sample>;
  readonly steps: number;
  readonly rule: DistanceRule;
  readonly window: Window;
  readonly supervise: Supervise;
  readonly signal?: AbortSignal | undefined;
}): Promise<LossScales> {
  const { engine, sampleAt, steps, rule, window, supervise, signal } = options;
  const plain: Sample[] = [];
  const long: Sample[] = [];
  for (let step = 0; step < Math.min(steps, MAX_LOOKED_AT); step++) {
    const sample = await sampleAt(step);
    const kind = isLongRangeSample(sample) ? long : plain;
    if (kind.length < SAMPLES_OF_A_KIND) kind.push(sample);
  }
  const streaming = filledGrid(engine.model.layers, engine.model.kvHeads, 0);
  const measure = async (samples: readonly Sample[], distance: Distance): Promise<number> => {
    let sum = 0;
    for (const sample of samples) {
      const control = { supervise, distance, ...(signal ? { signal } : {}) };
      sum += (await engine.distill(sample, streaming, window, control)).loss;
    }
    return sum / samples.length;
  };
  /** factor that brings the losses of `samples` to those of hidden states of `reference` */
  const scale = async (samples: readonly Sample[], reference: readonly Sample[]): Promise<number> => {
    const [sample] = samples;
    if (sample === undefined) return 1;
    const distance = chooseDistance(sample, rule);
    if (samples === reference && distance === 'hidden') return 1;
    const [own, wanted] = [await measure(samples, distance), await measure(reference, 'hidden')];
    return own > 0 && wanted > 0 ? wanted / own : 1;
  };
  const reference = plain.length > 0 ? plain : long;
  return { plain: await scale(plain, reference), long: await scale(long, reference) };
}
