// What a row of results measured, for figures and tables: accuracy, or kept gain where the row has one.
import type { EvalRow } from '../formats/results.ts';

export interface Measured {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** True for rows of kept gain, measured or not. */
export const isOfGain = (row: EvalRow): boolean => row.keptGain !== undefined;

/** The value and its 95 % interval; null where kept gain could not be measured. Kept gain may lie outside 0 to 1. */
export function readMeasure(row: EvalRow): Measured | null {
  if (!isOfGain(row)) return { value: row.accuracy, low: row.accuracyInterval[0], high: row.accuracyInterval[1] };
  if (typeof row.keptGain !== 'number') return null;
  const [low, high] = row.keptGainInterval ?? [row.keptGain, row.keptGain];
  return { value: row.keptGain, low, high };
}

/** `kept gain` or `accuracy`. */
export const nameMeasure = (row: EvalRow): string => (isOfGain(row) ? 'kept gain' : 'accuracy');

/** What full attention is to the measure, and what it says, as the end of a caption. */
export function describeMeasure(row: EvalRow): string {
  if (isOfGain(row)) {
    return 'Kept gain is the share of what long context adds to the log-probability of long-range tokens: 0 % with every head streaming, 100 % with full attention.';
  }
  return row.measure === 'generated' ? 'Scores of generated answers.' : 'Share of answer tokens predicted right.';
}

/** Ends of an axis from 0 to 1 that also has room for values beyond. */
export function spanOf(measured: readonly Measured[]): [number, number] {
  return [Math.min(0, ...measured.map(({ low }) => low)), Math.max(1, ...measured.map(({ high }) => high))];
}
