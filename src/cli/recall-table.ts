// The table of recall under masks that identify ends with and eval prints, and the share of the KV cache that a mask saves.
import type { EvalRow } from '../formats/results.ts';
import { formatPercent, formatTable } from './terminal.ts';

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

/** One sentence on the savings. */
export function describeSavings(savings: readonly { readonly tokens: number; readonly saved: number }[]): string {
  const name = (tokens: number): string => (tokens % 1024 === 0 ? `${tokens / 1024}K` : String(tokens));
  const parts = savings.map(({ tokens, saved }) => `${formatPercent(saved)} at ${name(tokens)} tokens`);
  return `KV cache saved: ${parts.join(', ')}.`;
}
