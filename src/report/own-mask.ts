// Keeps figures of another mask from being shown as the run's own: the files that `eval`, `bench` and the comparison left in a run folder name
// the mask that they were measured with, by its hash.

import type { EvalRow, Results } from '../formats/results.ts';
import { isCut } from '../formats/row-origin.ts';

/** sha256 of a mask, null for full attention, undefined where a file of an older duo names none. */
type MaskHash = string | null | undefined;

/** Rows whose `given` mask is not the run's say so in the name of their mask, and so do those of the masks made from it.
 * Rows without a hash are the run's own as far as their share of streaming heads agrees.
 * @param own the hash of the run's mask and its share of streaming heads; null where the run has no mask. */
export function labelResults(
  results: Results,
  own: { readonly hash: string; readonly streamingFraction: number } | null,
): { readonly results: Results; readonly isOther: boolean } {
  if (own === null) return { results, isOther: false };
  const given = results.rows.filter((row) => row.mask === 'given');
  const isOther = given.some((row) => !isOwn(row, own));
  if (!isOther) return { results, isOther };
  const label = (row: EvalRow): EvalRow => {
    if (row.mask === 'full' || isCut(row)) return row;
    return row.mask === 'given' && isOwn(row, own) ? row : { ...row, mask: `${row.mask} (another mask)` };
  };
  return { results: { ...results, rows: results.rows.map(label) }, isOther };
}

function isOwn(row: EvalRow, own: { readonly hash: string; readonly streamingFraction: number }): boolean {
  const hash = row.maskHash as MaskHash;
  if (hash !== undefined) return hash === own.hash;
  return Math.abs(row.streamingFraction - own.streamingFraction) < 1e-9;
}

/** True where a file that carries one hash names a mask that is not the run's. */
export function isOfAnotherMask(hash: MaskHash, own: string | null): boolean {
  return own !== null && hash !== undefined && hash !== null && hash !== own;
}
