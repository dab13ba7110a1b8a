// Tables of `duo eval`: a row per task, length, depth and mask, with what each cost; and critical footprints.

import { formatBytes, formatShare } from '../core/words.ts';
import type { CriticalRow } from '../formats/critical-footprints.ts';
import type { EvalRow, FailedRow } from '../formats/results.ts';
import { formatTable } from './terminal.ts';

export function formatTaskTable(rows: readonly EvalRow[]): string {
  const hasDepth = rows.some((row) => row.depth !== null);
  const header = ['task', 'tokens', ...(hasDepth ? ['depth'] : []), 'mask', 'score', '95 % interval'];
  const costs = ['KV peak', 'KV footprint', 'seconds'];
  const lines = rows.map((row) => [
    row.task,
    row.length === null ? '' : String(row.length),
    ...(hasDepth ? [row.depth === null ? '' : formatShare(row.depth)] : []),
    row.mask,
    row.keptGain === null ? '–' : formatShare(row.keptGain ?? row.accuracy),
    row.keptGain === null
      ? ''
      : (row.keptGainInterval ?? row.accuracyInterval).map((bound) => (100 * bound).toFixed(1)).join(' to '),
    formatBytes(row.kvBytes),
    formatShare(row.footprint),
    row.seconds.toFixed(1),
  ]);
  const notes = [...new Set(rows.flatMap((row) => (row.note === undefined ? [] : [`${row.task}: ${row.note}`])))];
  return [formatTable([[...header, ...costs], ...lines]), ...notes].join('\n');
}

/** Rows that could not be computed, each with its reason. */
export function formatFailedTable(rows: readonly FailedRow[]): string {
  const lines = rows.map((row) => [row.task, row.length === null ? '' : String(row.length), row.mask, row.error]);
  return formatTable([['task', 'tokens', 'mask', 'not computed'], ...lines]);
}

/** Smallest KV footprint that keeps 90 and 99 % of full attention's score, by method. */
export function formatCriticalTable(rows: readonly CriticalRow[]): string {
  const lines = rows.map((row) => [
    row.task,
    row.length === null ? '' : String(row.length),
    row.method,
    `${100 * row.keep} %`,
    `${row.isUpperBound ? '≤ ' : ''}${formatShare(row.footprint)}`,
  ]);
  return formatTable([['task', 'tokens', 'method', 'keeps', 'critical KV footprint'], ...lines]);
}
