// The curve that a promise was found by, as text, and what the mask saves at the lengths that people ask for.
import { measureKvShare } from '../core/kv-cost.ts';
import type { HeadMask } from '../core/shapes.ts';
import { formatShare } from '../core/words.ts';
import type { KeptPromise } from '../eval/keep-promise.ts';
import { formatTable } from './terminal.ts';

const SAVING_LENGTHS = [8192, 32_768, 131_072] as const;

/** Masks that were tried, by budget: what each keeps of full attention with its interval, and whether that holds the promise. */
export function formatWalkedTable({ walked }: Pick<KeptPromise, 'walked'>, keepOf: string): string {
  const header = ['KV share', `${keepOf} kept`, '95 % interval', 'holds'];
  const lines = [...walked]
    .sort((a, b) => a.index - b.index)
    .map(({ kvShare, kept, interval, holds }) => [
      formatShare(kvShare),
      kept.toFixed(4),
      interval.map((end) => end.toFixed(4)).join(' to '),
      holds ? 'yes' : 'no',
    ]);
  return formatTable([header, ...lines]);
}

/** One sentence: the share of the cache that the mask saves at 8K, 32K and 128K tokens, as far as the model takes such lengths. */
export function describePromiseSavings(mask: HeadMask, maxPositions: number): string | null {
  const parts = SAVING_LENGTHS.filter((tokens) => tokens <= maxPositions).map(
    (tokens) => `${formatShare(1 - measureKvShare(mask, tokens))} at ${tokens / 1024}K`,
  );
  return parts.length === 0 ? null : `The least budget found saves ${parts.join(', ')} tokens.`;
}
