// What the rows of a sweep say together: random masks as mean and spread, and each method's critical footprint.

import type { CriticalRow } from '../formats/critical-footprints.ts';
import type { EvalRow } from '../formats/results.ts';
import { isCut, originOf } from '../formats/row-origin.ts';
import { summariseRandomRows } from './baselines.ts';
import { findCriticalFootprint } from './metrics/critical-footprint.ts';

/** Random masks of one size on one task and length. */
export interface RandomSummary {
  readonly task: string;
  readonly length: number | null;
  readonly depth: number | null;
  readonly measure: EvalRow['measure'];
  /** `random` or `random@fraction` */
  readonly mask: string;
  readonly masks: number;
  readonly accuracyMean: number;
  /** sample standard deviation over the masks */
  readonly accuracyDeviation: number;
}

const KEPT_SHARES = [0.9, 0.99];

/** Rows of random masks, brought together by task, length, depth and size. */
export function summariseRandomMasks(rows: readonly EvalRow[]): RandomSummary[] {
  const random = rows.filter((row) => originOf(row).method === 'random');
  return groupBy(random, (row) => [place(row), row.depth, nameRandom(row)]).map((group) => {
    const [first] = group as [EvalRow];
    const { mean, deviation } = summariseRandomRows(group.map((row) => row.accuracy));
    const { task, length, depth, measure } = first;
    return {
      ...{ task, length, depth, measure, mask: nameRandom(first), masks: group.length },
      accuracyMean: mean,
      accuracyDeviation: deviation,
    };
  });
}

/** Critical footprints for every method with at least two fractions, on each task and length that has a row `full`.
 * Depths of a grid and random masks are averaged at equal budget. */
export function listCriticalFootprints(rows: readonly EvalRow[]): CriticalRow[] {
  return groupBy(rows, (row) => [place(row)]).flatMap((group) => {
    const full = group.filter((row) => row.mask === 'full');
    if (full.length === 0) return [];
    const fullScore = full.reduce((sum, row) => sum + row.accuracy, 0) / full.length;
    const cut = group.filter(isCut);
    return groupBy(cut, (row) => [nameMethod(row)]).flatMap((points) => {
      const budgets = points.map((row) => ({ budget: row.footprint, score: row.accuracy }));
      if (new Set(points.map((row) => row.streamingFraction)).size < 2) return [];
      const { task, length, measure } = points[0] as EvalRow;
      return KEPT_SHARES.map((keep): CriticalRow => {
        const { budget, isUpperBound } = findCriticalFootprint(budgets, { fullScore, keep });
        const method = nameMethod(points[0] as EvalRow);
        return { task, length, measure, method, keep, footprint: budget, isUpperBound, points: points.length };
      });
    });
  });
}

const place = (row: EvalRow): string => JSON.stringify([row.task, row.length, row.measure]);

/** `random`, `random@0.5` or `random@kv-0.24`. */
function nameRandom(row: EvalRow): string {
  const { fraction, kvShare } = originOf(row);
  return `random${fraction === null ? '' : `@${fraction}`}${kvShare === null ? '' : `@kv-${kvShare}`}`;
}

const nameMethod = (row: EvalRow): string => originOf(row).method;

function groupBy(rows: readonly EvalRow[], key: (row: EvalRow) => unknown): EvalRow[][] {
  const groups = new Map<string, EvalRow[]>();
  for (const row of rows) {
    const name = JSON.stringify(key(row));
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  return [...groups.values()];
}
