// The cut by memory: from the measured effects of a ladder, the window of each head with the least predicted loss within a share of a full
// KV cache at a context length (docs/semantics.md, 12). The search is in search-windows.ts, the bound that its result is compared with in loss-bound.ts.
import type { HeadMask } from '../src/core/shapes.ts';
import { BudgetError, ConfigError } from '../src/errors/errors.ts';
import type { LadderEffects } from '../src/formats/gates.ts';
import { boundLoss } from './loss-bound.ts';
import { resolveLadder } from './resolve-ladder.ts';
import { searchWindows } from './search-windows.ts';
import { type ChoiceProblem, countTies, makeProblem, measureLoss } from './window-choice.ts';

/** How to cut by memory. */
export interface ShareCut {
  /** entries at most, over those of a full cache, 0..1 */
  readonly kvShare: number;
  /** context length at which entries are counted, tokens; null = that of the longest sample measured */
  readonly atTokens: number | null;
}

export interface CutWindows {
  readonly mask: HeadMask;
  /** as asked */
  readonly kvShare: number;
  readonly atTokens: number;
  /** entries kept over those of a full cache, 0..1, at most `kvShare` */
  readonly keptShare: number;
  /** in the units of the ladder's effects */
  readonly predictedLoss: number;
  /** lower bound on the loss of any choice within the budget, by the same effects; null where it was not asked for */
  readonly lossBound: number | null;
  /** heads that could exchange windows with another head at the same loss: their order decided, not what was measured */
  readonly tieDecided: number;
}

/** Cut a ladder within a budget. Deterministic; about a second for 256 heads and five windows.
 * @param options.kvHeads KV heads of a layer.
 * @param options.isBounded false: skip the bound, which takes the larger part of the time.
 * @throws {ConfigError} a share or length out of range, or one at which the ladder's rule makes two windows the same; {BudgetError} even the narrowest windows keep more, naming the least share. */
export function cutWindows(
  measured: LadderEffects,
  options: ShareCut & { readonly kvHeads: number; readonly isBounded?: boolean },
): CutWindows {
  const { kvHeads, kvShare, isBounded = true } = options;
  const atTokens = options.atTokens ?? measured.tokens;
  checkShareCut({ kvShare, atTokens });
  const ladder = resolveLadder(measured, atTokens);
  const problem = makeProblem(ladder, atTokens);
  const rungs = findRungs(problem, { kvShare, atTokens });
  return describeRungs(rungs, { ladder, problem, kvHeads, kvShare, atTokens, isBounded });
}

/** Masks for several budgets, largest first. Nested: no head's window grows as the budget falls, so that a mask can be narrowed in place;
 * this costs a little loss against `cutWindows` at the same share.
 * @param options.shares each 0..1, in any order; equal ones once.
 * @throws {ConfigError}, {BudgetError} as `cutWindows`. */
export function cutPath(
  measured: LadderEffects,
  options: { readonly kvHeads: number; readonly shares: readonly number[]; readonly atTokens: number | null },
): CutWindows[] {
  const { kvHeads } = options;
  const atTokens = options.atTokens ?? measured.tokens;
  const ladder = resolveLadder(measured, atTokens);
  const problem = makeProblem(ladder, atTokens);
  let widest: Int32Array | undefined;
  return [...new Set(options.shares)]
    .sort((a, b) => b - a)
    .map((kvShare) => {
      checkShareCut({ kvShare, atTokens });
      widest = findRungs(problem, { kvShare, atTokens, widest });
      return describeRungs(widest, { ladder, problem, kvHeads, kvShare, atTokens, isBounded: false });
    });
}

function findRungs(
  problem: ChoiceProblem,
  options: { kvShare: number; atTokens: number; widest?: Int32Array | undefined },
): Int32Array {
  const { kvShare, atTokens, widest } = options;
  const budget = kvShare * problem.heads * atTokens;
  const rungs = searchWindows(problem, { budget, ...(widest && { widest }) });
  if (rungs) return rungs;
  const least = (problem.entries[0] as number) / atTokens;
  throw new BudgetError(
    `Expected a KV share of at least ${roundUp(least)} at ${atTokens} tokens, which the narrowest windows of the ladder keep, got \`${kvShare}\`; ask for more, for a greater length, or measure narrower windows.`,
  );
}

function describeRungs(
  rungs: Int32Array,
  options: {
    ladder: LadderEffects;
    problem: ChoiceProblem;
    kvHeads: number;
    kvShare: number;
    atTokens: number;
    isBounded: boolean;
  },
): CutWindows {
  const { ladder, problem, kvHeads, kvShare, atTokens, isBounded } = options;
  const windows = Array.from({ length: problem.heads / kvHeads }, (_, layer) =>
    Array.from({ length: kvHeads }, (_, head) => ladder.windows[rungs[layer * kvHeads + head] as number] ?? null),
  );
  const entries = rungs.reduce((sum, rung) => sum + (problem.entries[rung] as number), 0);
  const predictedLoss = measureLoss(problem, rungs);
  const budget = kvShare * problem.heads * atTokens;
  return {
    mask: { sinkTokens: ladder.sink, windows },
    kvShare,
    atTokens,
    keptShare: entries / (problem.heads * atTokens),
    predictedLoss,
    tieDecided: countTies(problem, rungs),
    // rounding of the last digits must not put the bound above what was found
    lossBound: isBounded ? Math.min(predictedLoss, boundLoss(problem, { budget, start: rungs }).bound) : null,
  };
}

function checkShareCut({ kvShare, atTokens }: { kvShare: number; atTokens: number }): void {
  if (!(kvShare >= 0 && kvShare <= 1)) {
    throw new ConfigError(`Expected \`kvShare\` to be a number from 0 to 1, got \`${kvShare}\`.`);
  }
  if (!(Number.isInteger(atTokens) && atTokens >= 1)) {
    throw new ConfigError(`Expected \`atTokens\` to be an integer of at least 1, got \`${atTokens}\`.`);
  }
}

/** Four digits, rounded up, so that the share named does fit. */
function roundUp(share: number): number {
  return Math.ceil(share * 1e4) / 1e4;
}
