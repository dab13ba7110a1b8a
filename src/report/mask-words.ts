// A mask in sentences, for the report and for inspect: what its heads see, and what it was cut for.
import { listWindows } from '../core/head-mask.ts';
import { measureKvShare } from '../core/kv-cost.ts';
import { formatNumber, formatShare, formatTokens } from '../core/words.ts';
import { MASK_VERSION, type MaskFile, toHeadMask } from '../formats/mask.ts';
import { findBudget } from '../formats/mask-budget.ts';
import type { JsonValue } from '../formats/read-json.ts';

/** What the heads of a mask see, widest first. */
export function describeWindows(file: MaskFile): string {
  const mask = toHeadMask(file);
  if (file.version === MASK_VERSION) return `Streaming heads see ${file.sink} sink and ${file.recent} recent tokens.`;
  const all = mask.windows.flat();
  const parts = [null, ...listWindows(mask).reverse()].map((window, index) => {
    const count = all.filter((own) => own === window).length;
    if (window === null) return `${count} of ${all.length} KV heads see the whole context`;
    return index === 1 ? `${count} the ${window} nearest tokens` : `${count} the ${window} nearest`;
  });
  return `${parts.join(', ')}; all see ${mask.sinkTokens} sink tokens.`;
}

/** What the mask was cut for, and what came of it; null where it was not cut by a budget. */
export function describeBudget(file: MaskFile): string | null {
  const budget = findBudget(file);
  if (budget === null) return null;
  const { kvShare, atTokens, predictedLoss, lossBound } = budget;
  const kept = `KV share ${formatShare(measureKvShare(toHeadMask(file), atTokens))} at ${formatTokens(atTokens)} tokens (at most ${formatShare(kvShare)} was asked)`;
  if (predictedLoss === null) return `${kept}.`;
  const bound = lossBound === null ? '' : `, which no mask of that budget brings below ${formatNumber(lossBound)}`;
  return `${kept}; predicted loss ${formatNumber(predictedLoss)}, the sum of the measured effects of its windows${bound}.`;
}

/** The rule that made the windows of a mask, and for which length; null where they are those that were named. */
export function describeWindowRule({ provenance }: MaskFile): string | null {
  const rule = provenance.windowRule;
  if (typeof rule !== 'object' || rule === null || Array.isArray(rule)) return null;
  const { name, namedAt, atTokens, windows } = rule as Record<string, JsonValue | undefined>;
  if (name !== 'proportional' || typeof namedAt !== 'number' || typeof atTokens !== 'number') return null;
  const named = Array.isArray(windows) ? ` of ${windows.join(', ')} tokens` : '';
  return `The windows were scaled to ${atTokens} tokens in proportion to the length from those${named} at ${namedAt}; cut the gates again for another length.`;
}

/** The length at which a mask's KV share is named first: that of its budget; null where it has none. */
export function findBudgetShare(file: MaskFile): { readonly tokens: number; readonly kvShare: number } | null {
  const budget = findBudget(file);
  if (budget === null) return null;
  return { tokens: budget.atTokens, kvShare: measureKvShare(toHeadMask(file), budget.atTokens) };
}

/** What decided the labels where that was not the gates; null where it was. */
export function describeRanks(file: MaskFile): string | null {
  if (file.version !== MASK_VERSION || !file.ranks) return null;
  return 'Heads were kept by rank, the order in which they close (`ranks` in mask.json), not by the size of their gates.';
}

/** How the labels or windows of a mask were decided where the measurements of heads were equal; null where they differ. */
export function describeTies(file: MaskFile): string | null {
  const { tieDecided } = file.provenance;
  if (typeof tieDecided !== 'number' || tieDecided === 0) return null;
  const what = findBudget(file) === null ? ['labels', 'gates'] : ['windows', 'effects'];
  return `The ${what[0]} of ${tieDecided} heads with equal ${what[1]} were decided by (layer, head) order, not by what was measured.`;
}
