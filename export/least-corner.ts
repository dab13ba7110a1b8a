// The linear problem inside the bound: options with a price each, at most one option per head in all (fractions allowed), at least so many
// entries saved. Solved exactly by filling the lower convex hulls of the heads' (saved, price) points in ascending slope.
import type { ChoiceProblem } from './window-choice.ts';

interface Edge {
  readonly head: number;
  /** rungs at its ends; the whole context is `problem.rungs` */
  readonly from: number;
  readonly to: number;
  readonly saved: number;
  readonly slope: number;
}

/** @param prices `[heads · rungs]`, of any sign.  @returns shares of the options, `[heads · rungs]`, with the lowest total price. */
export function findLeastCorner(
  { heads, rungs, entries }: ChoiceProblem,
  { prices, budget }: { prices: Float64Array; budget: number },
): Float64Array {
  const corner = new Float64Array(heads * rungs);
  const whole = entries[rungs] as number;
  const savedBy = (rung: number): number => whole - (entries[rung] as number);
  const priceOf = (head: number, rung: number): number =>
    rung === rungs ? 0 : (prices[head * rungs + rung] as number);
  const put = (head: number, rung: number, share: number): void => {
    if (rung < rungs) (corner[head * rungs + rung] as number) += share;
  };
  let missing = heads * whole - budget;
  const edges: Edge[] = [];
  for (let head = 0; head < heads; head++) {
    // begin at the cheapest rung, among equals the one that saves most; a rung that saves less is never useful
    let cheapest = rungs;
    for (let rung = rungs - 1; rung >= 0; rung--) {
      if (priceOf(head, rung) <= priceOf(head, cheapest)) cheapest = rung;
    }
    put(head, cheapest, 1);
    missing -= savedBy(cheapest);
    for (let from = cheapest; from > 0; ) {
      let best: Edge | null = null;
      for (let to = from - 1; to >= 0; to--) {
        const saved = savedBy(to) - savedBy(from);
        if (saved <= 0) continue;
        const slope = (priceOf(head, to) - priceOf(head, from)) / saved;
        if (best === null || slope <= best.slope) best = { head, from, to, saved, slope };
      }
      if (best === null) break;
      edges.push(best);
      from = best.to;
    }
  }
  // stable: edges of one slope stay in order of head and saving
  edges.sort((a, b) => a.slope - b.slope);
  for (const { head, from, to, saved } of edges) {
    if (missing <= 0) break;
    const share = Math.min(1, missing / saved);
    put(head, from, -share);
    put(head, to, share);
    missing -= saved;
  }
  return corner;
}
