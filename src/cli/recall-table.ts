// The table of recall under masks that identify ends with and eval prints, and the share of the KV cache that a mask saves.

import { formatShare } from '../core/words.ts';
import type { EvalRow } from '../formats/results.ts';
import { formatTable } from './terminal.ts';

/** Rows of one task as text: who, accuracy with its interval, log-probability, share of the heads that stream.
 * @param keptGain rows of the same masks, for a column of kept gain; where it could not be measured, the reason is given below the table. */
export function formatRecallTable(rows: readonly EvalRow[], keptGain: readonly EvalRow[] | null = null): string {
  const isMeasured = keptGain?.some(({ keptGain: kept }) => typeof kept === 'number') ?? false;
  const gains = isMeasured && keptGain ? ['kept gain', '95 % interval'] : [];
  const header = ['mask', 'answer tokens right', '95 % interval', 'log-prob', ...gains, 'heads streaming'];
  const lines = rows.map((row) => [
    row.mask,
    formatShare(row.accuracy),
    row.accuracyInterval.map((bound) => (100 * bound).toFixed(1)).join(' to '),
    row.logProb === null ? '' : row.logProb.toFixed(4),
    ...(isMeasured ? formatGain(keptGain?.find(({ mask }) => mask === row.mask)) : []),
    formatShare(row.streamingFraction),
  ]);
  const table = formatTable([header, ...lines]);
  const [first] = keptGain ?? [];
  return first === undefined || isMeasured ? table : `${table}\nNo kept gain: ${first.note ?? 'it was not measured'}.`;
}

function formatGain(row: EvalRow | undefined): string[] {
  const { keptGain, keptGainInterval } = row ?? {};
  if (typeof keptGain !== 'number') return ['', ''];
  const bounds = (keptGainInterval ?? []).map((bound) => (100 * bound).toFixed(1)).join(' to ');
  return [formatShare(keptGain), bounds];
}

/** One sentence on the savings. */
export function describeSavings(savings: readonly { readonly tokens: number; readonly saved: number }[]): string {
  const name = (tokens: number): string => (tokens % 1024 === 0 ? `${tokens / 1024}K` : String(tokens));
  const parts = savings.map(({ tokens, saved }) => `${formatShare(saved)} at ${name(tokens)} tokens`);
  return `KV cache saved: ${parts.join(', ')}.`;
}
