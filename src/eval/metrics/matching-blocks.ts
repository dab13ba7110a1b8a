// Matching blocks as Python's difflib.SequenceMatcher finds them: the longest common run, then the same to its left and right.
// Items that fill more than a hundredth of a second sequence of 200 or more do not begin a match there, they only extend one.

/** Items of the second sequence from which on difflib looks at how popular they are. */
const POPULARITY_FROM = 200;

/** Characters that lie in matching blocks: `SequenceMatcher(None, a, b).ratio()` is twice that over both lengths. */
export function countMatchedCharacters(a: readonly string[], b: readonly string[]): number {
  const places = indexPlaces(b);
  const find = (aLow: number, aHigh: number, bLow: number, bHigh: number): [number, number, number] => {
    let best: [number, number, number] = [aLow, bLow, 0];
    let runs = new Map<number, number>();
    for (let i = aLow; i < aHigh; i++) {
      const next = new Map<number, number>();
      for (const j of places.get(a[i] as string) ?? []) {
        if (j < bLow) continue;
        if (j >= bHigh) break;
        const length = (runs.get(j - 1) ?? 0) + 1;
        next.set(j, length);
        if (length > best[2]) best = [i - length + 1, j - length + 1, length];
      }
      runs = next;
    }
    // popular characters may join a run at either end; difflib extends it over all equal ones
    let [i, j, length] = best;
    while (i > aLow && j > bLow && a[i - 1] === b[j - 1]) {
      i--;
      j--;
      length++;
    }
    while (i + length < aHigh && j + length < bHigh && a[i + length] === b[j + length]) length++;
    return [i, j, length];
  };
  let matched = 0;
  const open: [number, number, number, number][] = [[0, a.length, 0, b.length]];
  for (let range = open.pop(); range !== undefined; range = open.pop()) {
    const [aLow, aHigh, bLow, bHigh] = range;
    const [i, j, length] = find(aLow, aHigh, bLow, bHigh);
    if (length === 0) continue;
    matched += length;
    if (aLow < i && bLow < j) open.push([aLow, i, bLow, j]);
    if (i + length < aHigh && j + length < bHigh) open.push([i + length, aHigh, j + length, bHigh]);
  }
  return matched;
}

/** Where each item of b lies, ascending, without the popular ones. */
function indexPlaces(b: readonly string[]): Map<string, number[]> {
  const places = new Map<string, number[]>();
  for (const [index, item] of b.entries()) {
    const known = places.get(item);
    if (known === undefined) places.set(item, [index]);
    else known.push(index);
  }
  const popular = new Set<string>();
  if (b.length >= POPULARITY_FROM) {
    const most = Math.floor(b.length / 100) + 1;
    for (const [item, indices] of places) if (indices.length > most) popular.add(item);
    for (const item of popular) places.delete(item);
  }
  return places;
}
