// The budget that a mask was cut for: fields of mask.json version 2; where one window sufficed, `budget` in version 1's provenance.
import { MASK_VERSION, type MaskFile } from './mask.ts';
import type { JsonValue } from './read-json.ts';

export interface MaskBudget {
  /** entries asked for over those of a full cache, 0..1 */
  readonly kvShare: number;
  /** context length at which they are counted */
  readonly atTokens: number;
  /** loss by the measured effects, in their units */
  readonly predictedLoss: number | null;
  /** what no mask of the budget falls below by the same effects */
  readonly lossBound: number | null;
}

/** The budget of a mask; null where it was cut otherwise, or another tool's provenance holds something else there. */
export function findBudget(mask: MaskFile): MaskBudget | null {
  if (mask.version !== MASK_VERSION) {
    const { kvShare, atTokens, predictedLoss, lossBound } = mask;
    return kvShare === null || atTokens === null ? null : { kvShare, atTokens, predictedLoss, lossBound };
  }
  const { budget } = mask.provenance;
  if (typeof budget !== 'object' || budget === null || Array.isArray(budget)) return null;
  const { kvShare, atTokens, predictedLoss, lossBound } = budget as Record<string, JsonValue | undefined>;
  if (typeof kvShare !== 'number' || typeof atTokens !== 'number') return null;
  return { kvShare, atTokens, predictedLoss: numberOrNull(predictedLoss), lossBound: numberOrNull(lossBound) };
}

function numberOrNull(value: JsonValue | undefined): number | null {
  return typeof value === 'number' ? value : null;
}
