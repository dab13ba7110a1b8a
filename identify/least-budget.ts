// The closing lines of an identification: the smallest budget that would keep 0.99 of full attention, from what was measured anyway: the masks
// of a promise, and from the closing table the mask found and the one where every head streams. No further mask is measured for it.
import { makeHeadMask } from '../src/core/head-mask.ts';
import { measureKvShare } from '../src/core/kv-cost.ts';
import { filledGrid, type HeadMask } from '../src/core/shapes.ts';
import type { ScoredSample } from '../src/eval/evaluate-samples.ts';
import type { WalkedMask } from '../src/eval/keep-promise.ts';
import type { Interval } from '../src/eval/metrics/confidence.ts';
import { measureKeptRecall } from '../src/eval/metrics/kept-recall.ts';
import type { EvalRow } from '../src/formats/results.ts';

/** What a mask is asked to keep, at the lower end of its interval. */
export const MIN_KEPT = 0.99;

/** A mask that was measured, and what it keeps of full attention. */
export interface MeasuredMask {
  readonly mask: HeadMask;
  readonly kept: number;
  readonly interval: Interval;
}

/** For one measure, the mask with the smallest budget that keeps MIN_KEPT. */
export interface LeastBudget {
  /** recall, gain or a task */
  readonly keepOf: string;
  /** length at which budgets are counted */
  readonly atTokens: number;
  /** null where no mask that was measured keeps it */
  readonly found: (MeasuredMask & { readonly kvShare: number }) | null;
}

/** @returns the content of one line for each measure that has an interval: that of a promise first, then recall, then gain.
 * @param options.scored samples of the closing table, by row; null where there is no table.  @param options.given the mask found. */
export function listLeastBudgets(options: {
  readonly given: HeadMask;
  readonly atTokens: number;
  readonly promise: { readonly keepOf: string; readonly walked: readonly WalkedMask[] } | null;
  readonly scored: ReadonlyMap<string, readonly ScoredSample[]> | null;
  readonly keptGain: readonly EvalRow[] | null;
}): LeastBudget[] {
  const { given, atTokens, promise, scored, keptGain } = options;
  const measured = new Map<string, MeasuredMask[]>();
  const add = (keepOf: string, masks: readonly MeasuredMask[]): void => {
    if (masks.length > 0) measured.set(keepOf, [...(measured.get(keepOf) ?? []), ...masks]);
  };
  if (promise) add(promise.keepOf, promise.walked);
  const masks = { given, streaming: streamAll(given) };
  for (const [name, mask] of Object.entries(masks)) {
    add('recall', readRecall({ scored, name, mask }));
    add('gain', readGain({ keptGain, name, mask }));
  }
  return [...measured].map(([keepOf, tried]) => {
    const found = tried
      .filter(({ interval: [low] }) => low >= MIN_KEPT)
      .map(({ mask, kept, interval }) => ({ mask, kept, interval, kvShare: measureKvShare(mask, atTokens) }))
      .reduce<LeastBudget['found']>((least, one) => (least && least.kvShare <= one.kvShare ? least : one), null);
    return { keepOf, atTokens, found };
  });
}

/** Every head with the smallest window of the mask; the mask itself where none streams. */
function streamAll(mask: HeadMask): HeadMask {
  const widths = mask.windows.flat().filter((window) => window !== null);
  if (widths.length === 0) return mask;
  const window = { sinkTokens: mask.sinkTokens, recentTokens: Math.min(...widths) };
  return makeHeadMask(filledGrid(mask.windows.length, (mask.windows[0] as unknown[]).length, 0), window);
}

function readRecall(options: {
  scored: ReadonlyMap<string, readonly ScoredSample[]> | null;
  name: string;
  mask: HeadMask;
}): MeasuredMask[] {
  const { scored, name, mask } = options;
  const [full, own] = [scored?.get('full'), scored?.get(name)];
  if (!full || !own) return [];
  const right = ({ accuracy, answerTokens }: ScoredSample): number => Math.round(accuracy * answerTokens);
  const pairs = full.map((sample, index) => ({ full: right(sample), mask: right(own[index] as ScoredSample) }));
  const { value, interval } = measureKeptRecall(pairs);
  return value === null || interval === null ? [] : [{ mask, kept: value, interval }];
}

function readGain(options: { keptGain: readonly EvalRow[] | null; name: string; mask: HeadMask }): MeasuredMask[] {
  const row = options.keptGain?.find(({ mask }) => mask === options.name);
  const { keptGain, keptGainInterval } = row ?? {};
  if (typeof keptGain !== 'number' || !keptGainInterval) return [];
  return [{ mask: options.mask, kept: keptGain, interval: [...keptGainInterval] as Interval }];
}
