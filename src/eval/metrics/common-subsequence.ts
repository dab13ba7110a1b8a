// Longest common subsequences, with the one of several equally long ones that the ROUGE packages choose.

/** Lengths for every pair of beginnings, `[a.length + 1, b.length + 1]`. Takes |a|·|b| steps and four bytes each. */
function fillLengths<T>(a: readonly T[], b: readonly T[]): { lengths: Uint32Array; width: number } {
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const at = i * width + j;
      lengths[at] =
        a[i - 1] === b[j - 1]
          ? (lengths[at - width - 1] as number) + 1
          : Math.max(lengths[at - width] as number, lengths[at - 1] as number);
    }
  }
  return { lengths, width };
}

/** The subsequence in order, and the steps that were taken back through the table; on a tie b is shortened first (`rouge`). */
export function findCommonSubsequence<T>(a: readonly T[], b: readonly T[]): { words: T[]; steps: number } {
  const { lengths, width } = fillLengths(a, b);
  const words: T[] = [];
  let steps = 0;
  for (let i = a.length, j = b.length; i > 0 && j > 0; steps++) {
    if (a[i - 1] === b[j - 1]) {
      words.push(a[i - 1] as T);
      i--;
      j--;
    } else if ((lengths[(i - 1) * width + j] as number) > (lengths[i * width + j - 1] as number)) i--;
    else j--;
  }
  return { words: words.reverse(), steps };
}

/** Places in `a` of the subsequence, ascending; on a tie a is shortened first (`rouge_score`). */
export function findCommonPlaces<T>(a: readonly T[], b: readonly T[]): number[] {
  const { lengths, width } = fillLengths(a, b);
  const places: number[] = [];
  for (let i = a.length, j = b.length; i > 0 && j > 0; ) {
    if (a[i - 1] === b[j - 1]) {
      places.push(i - 1);
      i--;
      j--;
    } else if ((lengths[i * width + j - 1] as number) > (lengths[(i - 1) * width + j] as number)) j--;
    else i--;
  }
  return places.reverse();
}

/** Length of the longest common subsequence, row by row: memory for one row only. */
export function measureCommonSubsequence<T>(a: readonly T[], b: readonly T[]): number {
  let above = new Uint32Array(b.length + 1);
  for (const item of a) {
    const row = new Uint32Array(b.length + 1);
    for (let j = 1; j <= b.length; j++) {
      row[j] = item === b[j - 1] ? (above[j - 1] as number) + 1 : Math.max(above[j] as number, row[j - 1] as number);
    }
    above = row;
  }
  return above[b.length] as number;
}
