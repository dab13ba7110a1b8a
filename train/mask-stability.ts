// Counts how long the mask has been unchanged while the gates still move, for the optional early stop.
// A mask whose labels a tie decides is not settled: all gates start equal, and any cut of them is arbitrary but constant.
import type { MaskGrid } from '../src/core/shapes.ts';
import type { MaskStability } from './checkpoint.ts';

/** A mask as the caller's cut gives it. */
export interface CutResult {
  readonly mask: MaskGrid;
  /** number of labels that a tie of gates decided */
  readonly tieDecided: number;
}

export const UNSETTLED: MaskStability = { mask: null, unchangedSteps: 0 };

/** Stability after one more step.
 * @param cut the mask of the gates after the step.  @param isWarm false while the learning rate still rises: nothing counts before. */
export function trackStability(
  before: MaskStability,
  { cut, isWarm }: { cut: CutResult; isWarm: boolean },
): MaskStability {
  const isSame = before.mask !== null && JSON.stringify(before.mask) === JSON.stringify(cut.mask);
  const isSettled = isSame && isWarm && cut.tieDecided === 0;
  return { mask: cut.mask, unchangedSteps: isSettled ? before.unchangedSteps + 1 : 0 };
}
