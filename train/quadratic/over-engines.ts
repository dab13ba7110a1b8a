// Samples shared out over several engines of one model, each engine one sample at a time. Results are taken in the samples' order, whichever
// engine is done first, so that sums of them have the same bytes for any number of engines.
import type { Sample } from '../../src/core/shapes.ts';
import type { ProbingEngine } from './measure-sample.ts';

export interface SharedWork<Result> {
  /** samples from `begin` to before `end` */
  readonly begin: number;
  readonly end: number;
  readonly engines: readonly ProbingEngine[];
  /** asked for one sample at a time */
  readonly sampleAt: (index: number) => Sample | Promise<Sample>;
  /** @param at.slot number of the engine among `engines`.  @param at.onProgress fraction of this sample, 0..1 */
  readonly measure: (
    sample: Sample,
    at: { index: number; engine: ProbingEngine; slot: number; onProgress: (fraction: number) => void },
  ) => Promise<Result>;
  /** told each result once, in the samples' order */
  readonly onMeasured: (result: Result, at: { index: number; sample: Sample }) => void;
  /** samples of all that are done, fractions included: begin..end, never falling */
  readonly onProgress: (samplesDone: number) => void;
}

/** Measure all samples. Where one fails, no further one is begun, those under way are waited for, and what came before the first failure
 * has been told. @throws the first failure. */
export async function measureOverEngines<Result>(work: SharedWork<Result>): Promise<void> {
  const { begin, end, engines, sampleAt, measure, onMeasured, onProgress } = work;
  const waiting = new Map<number, { result: Result; sample: Sample }>();
  const fractions = new Map<number, number>();
  let [next, told] = [begin, begin];
  let asked: Promise<unknown> = Promise.resolve();
  const failures: unknown[] = [];
  const tell = (index: number, fraction: number): void => {
    fractions.set(index, fraction);
    onProgress(begin + [...fractions.values()].reduce((sum, value) => sum + value, 0));
  };
  const serve = async (engine: ProbingEngine, slot: number): Promise<void> => {
    while (next < end && failures.length === 0) {
      const index = next++;
      try {
        const sampled = asked.then(() => sampleAt(index));
        asked = sampled.catch(() => undefined);
        const sample = await sampled;
        const result = await measure(sample, {
          ...{ index, engine, slot },
          onProgress: (fraction) => tell(index, fraction),
        });
        tell(index, 1);
        waiting.set(index, { result, sample });
        for (let found = waiting.get(told); found; found = waiting.get(told)) {
          waiting.delete(told);
          onMeasured(found.result, { index: told, sample: found.sample });
          told++;
        }
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(engines.map(serve));
  if (failures.length > 0) throw failures[0];
}
