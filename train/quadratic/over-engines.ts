// Samples shared out over several engines of one model, each engine one sample at a time, and over the processes of a joined run. Results
// are taken in the samples' order, whichever engine or process is done first, so that sums of them have the same bytes for any number.
import type { Sample } from '../../src/core/shapes.ts';
import { type SharedResults, waitAMoment } from '../shared-results.ts';

export interface SharedWork<Engine> {
  /** samples from `begin` to before `end` */
  readonly begin: number;
  readonly end: number;
  readonly engines: readonly Engine[];
  /** asked for one sample at a time */
  readonly sampleAt: (index: number) => Sample | Promise<Sample>;
  /** @param at.slot number of the engine among `engines`.  @param at.onProgress fraction of this sample, 0..1 */
  readonly measure: (
    sample: Sample,
    at: { index: number; engine: Engine; slot: number; onProgress: (fraction: number) => void },
  ) => Promise<Float64Array>;
  /** called with each result once, in the samples' order */
  readonly onMeasured: (result: Float64Array, at: { index: number; sample: Sample }) => void;
  /** samples of all that are done, fractions included: begin..end, never falling */
  readonly onProgress?: (samplesDone: number) => void;
  /** where results are kept for, and taken from, other processes; `name` distinguishes this work from others of the run */
  readonly shared?: { readonly results: SharedResults; readonly name: string } | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Measure all samples. Where one fails, no further one is begun, those under way are waited for, and the results before the first failure
 * have been reported. @throws the first failure. */
export async function measureOverEngines<Engine>(work: SharedWork<Engine>): Promise<void> {
  const { begin, end, engines, sampleAt, measure, onMeasured, onProgress, shared } = work;
  const waiting = new Map<number, { result: Float64Array; sample: Sample }>();
  const fractions = new Map<number, number>();
  const left = Array.from({ length: end - begin }, (_, index) => begin + index);
  let nextIndex = begin;
  let asked: Promise<unknown> = Promise.resolve();
  const failures: unknown[] = [];
  const report = (index: number, fraction: number): void => {
    fractions.set(index, fraction);
    onProgress?.(begin + [...fractions.values()].reduce((sum, value) => sum + value, 0));
  };
  const keyOf = (index: number): string => `${shared?.name}-${index}`;
  /** The next sample, with its result where another process has found it; null where none is left for now. */
  const next = (): { index: number; result: Float64Array | null } | null => {
    for (const [place, index] of left.entries()) {
      const piece = shared ? shared.results.take(keyOf(index)) : 'mine';
      if (piece === 'elsewhere') continue;
      left.splice(place, 1);
      return { index, result: piece === 'mine' ? null : piece.values };
    }
    return null;
  };
  const serve = async (engine: Engine, slot: number): Promise<void> => {
    while (left.length > 0 && failures.length === 0) {
      try {
        const taken = next();
        if (taken === null) {
          await waitAMoment(work.signal);
          continue;
        }
        const { index } = taken;
        const compute = async (): Promise<Float64Array> =>
          measure(await sampled, { ...{ index, engine, slot }, onProgress: (fraction) => report(index, fraction) });
        const sampled = asked.then(() => sampleAt(index));
        asked = sampled.catch(() => undefined);
        const own = (): Promise<Float64Array> => (shared ? shared.results.compute(keyOf(index), compute) : compute());
        const result = taken.result ?? (await own());
        report(index, 1);
        waiting.set(index, { result, sample: await sampled });
        for (let found = waiting.get(nextIndex); found; found = waiting.get(nextIndex)) {
          waiting.delete(nextIndex);
          onMeasured(found.result, { index: nextIndex, sample: found.sample });
          nextIndex++;
        }
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(engines.map(serve));
  if (failures.length > 0) throw failures[0];
}
