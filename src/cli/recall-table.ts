// The table of recall under masks that identify ends with and eval prints, and the share of the KV cache that a mask saves.
import { measureKvShare } from '../core/kv-cost.ts';
import type { HeadMask } from '../core/shapes.ts';
import type { EvalRow } from '../formats/results.ts';
import { formatPercent, formatTable } from './terminal.ts';

const SAVING_LENGTHS = [32_768, 131_072] as const;

/** Rows of one task as text: who, accuracy with its interval, log-probability, share of the heads that stream. */
export function formatRecallTable(rows: readonly EvalRow[]): string {
  const header = ['mask', 'answer words right', '95 % interval', 'log-prob', 'heads streaming'];
  const lines = rows.map((row) => [
    row.mask,
    formatPercent(row.accuracy),
    row.accuracyInterval.map((bound) => (100 * bound).toFixed(1)).join(' to '),
    row.logProb === null ? '' : row.logProb.toFixed(4),
    formatPercent(row.streamingFraction),
  ]);
  return formatTable([header, ...lines]);
}

/** Share of the full KV cache that the mask saves at 32K and 128K tokens. */
export function listSavings(mask: HeadMask): { tokens: number; saved: number }[] {
  return SAVING_LENGTHS.map((tokens) => ({ tokens, saved: 1 - measureKvShare(mask, tokens) }));
}

/** One sentence on the savings. */
export function describeSavings(mask: HeadMask): string {
  const parts = listSavings(mask).map(({ tokens, saved }) => `${formatPercent(saved)} at ${tokens / 1024}K tokens`);
  return `KV cache saved: ${parts.join(', ')}.`;
}
