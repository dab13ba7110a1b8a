// The curve that a promise was found by, as text, and what the mask saves at the lengths that people ask for.
import { type LeastBudget, MIN_KEPT } from '../../identify/least-budget.ts';
import { measureKvShare, SAVING_LENGTHS } from '../core/kv-cost.ts';
import type { HeadMask } from '../core/shapes.ts';
import { formatShare } from '../core/words.ts';
import type { KeptPromise } from '../eval/keep-promise.ts';
import { formatTable } from './terminal.ts';

/** Those of every mask, and a shorter one. */
const PROMISE_LENGTHS = [8192, ...SAVING_LENGTHS];

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
  const saved = listPromiseSavings(mask, maxPositions);
  return saved === null ? null : `The smallest budget found saves ${saved} tokens.`;
}

/** One sentence: the smallest budget that keeps 0.99 by what an identification measured anyway, or that none of it does. */
export function describeLeastBudget({ keepOf, atTokens, found }: LeastBudget, maxPositions: number): string {
  const of = `of full attention's ${keepOf === 'recall' || keepOf === 'gain' ? keepOf : `score of ${keepOf}`}`;
  const look = keepOf === 'recall' ? '' : ` --keep-of ${keepOf}`;
  if (found === null) {
    return `No mask that was measured keeps ${MIN_KEPT} ${of}; --keep ${MIN_KEPT}${look} looks for the smallest budget.`;
  }
  const [low, high] = found.interval;
  const saved = listPromiseSavings(found.mask, maxPositions);
  const saves = saved === null ? '' : `; saves ${saved} tokens`;
  return `Smallest budget measured that keeps ${MIN_KEPT} ${of}: ${formatShare(found.kvShare)} of the cache at ${atTokens} tokens, ${found.kept.toFixed(3)} kept (${low.toFixed(3)} to ${high.toFixed(3)})${saves}.`;
}

function listPromiseSavings(mask: HeadMask, maxPositions: number): string | null {
  const parts = PROMISE_LENGTHS.filter((tokens) => tokens <= maxPositions).map(
    (tokens) => `${formatShare(1 - measureKvShare(mask, tokens))} at ${tokens / 1024}K`,
  );
  return parts.length === 0 ? null : parts.join(', ');
}
