// The known name nearest to a mistyped one, by edit distance; ties go to the earlier name.

/** Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`, case ignored. */
export function editDistance(a: string, b: string): number {
  const left = a.toLowerCase();
  const right = b.toLowerCase();
  let twoBack: number[] = [];
  let oneBack = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const replaced = oneBack[column - 1]! + (left[row - 1] === right[column - 1] ? 0 : 1);
      let best = Math.min(replaced, oneBack[column]! + 1, current[column - 1]! + 1);
      const isSwap = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      if (row > 1 && column > 1 && isSwap) best = Math.min(best, twoBack[column - 2]! + 1);
      current.push(best);
    }
    twoBack = oneBack;
    oneBack = current;
  }
  return oneBack[right.length]!;
}

/** The name of `known` nearest to `name`. @param known not empty. */
export function findNearest(name: string, known: readonly string[]): string {
  const MAX_COMPARED = 64; // a longer name is no misspelling; bounds the quadratic distance
  const compared = name.slice(0, MAX_COMPARED);
  let best = known[0] as string;
  for (const candidate of known) {
    if (editDistance(compared, candidate) < editDistance(compared, best)) best = candidate;
  }
  return best;
}
