// One run of the quadratic method: what it is given, what it keeps, and how much work it is.
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { Sample } from '../../src/core/shapes.ts';
import type { JsonRecord } from '../../src/formats/read-json.ts';
import type { SharedResults } from '../shared-results.ts';
import { countMeasureForwards, countSketchForwards } from './cost.ts';
import { listStages } from './eliminate-heads.ts';
import type { MeasureOptions, ProbingEngine } from './measure-sample.ts';
import { isFirstSpared, type QuadraticSettings } from './quadratic-settings.ts';

export interface QuadraticOptions {
  readonly settings: QuadraticSettings;
  readonly measure: Pick<MeasureOptions, 'engine' | 'window' | 'supervise' | 'signal'>;
  /** other engines of the same model and kind of device, to share samples with; the result does not depend on them */
  readonly helpers?: readonly ProbingEngine[] | undefined;
  /** sample i; the same one each time it is asked */
  readonly sampleAt: (index: number) => Sample | Promise<Sample>;
  /** where the state is kept after each sample; blocks that do not fit in memory are written next to it */
  readonly checkpointPath: string;
  /** what decides the numbers; a resume with another is refused */
  readonly identity: JsonRecord;
  /** continue from the checkpoint, if there is one */
  readonly resume?: boolean;
  /** where other processes of a joined run keep what they measure */
  readonly shared?: SharedResults | undefined;
  /** fraction of the work done, 0..1, were every round to run */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** A run with what it keeps of its samples. */
export interface Run extends QuadraticOptions {
  /** h(all full) by sample index, and of samples that are measured by KL h(every head streaming) */
  readonly ends: Map<number, { readonly full: Float32Array; readonly streaming?: Float32Array }>;
}

/** Work in rounds, each a pass over all heads: of the ladder, of the rounds, and of all with the elimination, which measures only open heads. */
export function countWork({ settings, measure }: Run): { ladder: number; spared: number; total: number } {
  const { engine, window } = measure;
  const { windows = [], ladderVectors = 0 } = settings;
  const { layers, kvHeads } = engine.model;
  const sketch =
    countSketchForwards(ladderVectors) / countMeasureForwards({ layers, kvHeads, callsPerSample: 1, isFirst: true });
  const ladder = windows.length > 0 && ladderVectors > 0 ? sketch : windows.length;
  const spared = Number(isFirstSpared(settings, window.recentTokens));
  const heads = layers * kvHeads;
  const elimination = listStages(heads).reduce((sum, size) => sum + size, 0) / heads;
  return { ladder, spared, total: ladder - spared + settings.rounds + elimination };
}

/** All engines of a run, its own first. */
export function enginesOf({ measure, helpers = [] }: Run): ProbingEngine[] {
  return [measure.engine, ...helpers];
}

/** Folder of blocks that do not fit in memory. @param slot number of the engine that makes them. */
export function scratchOf(run: Run, slot = 0): string {
  return join(dirname(run.checkpointPath), slot === 0 ? '.probe' : `.probe-${slot}`);
}

/** Where results of a measurement are shared, keyed by what decides them in addition to the run's identity; nothing in a run of one process. */
export function sharedBy(run: Run, work: string, of: unknown): { results: SharedResults; name: string } | undefined {
  if (run.shared === undefined) return undefined;
  const hash = createHash('sha256').update(JSON.stringify(of)).digest('hex').slice(0, 16);
  return { results: run.shared, name: `${work}-${hash}` };
}
