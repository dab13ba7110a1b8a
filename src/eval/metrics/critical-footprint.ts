// Critical footprint (PruLong, arXiv 2506.17121): the smallest KV budget at which a method keeps a share of full attention's score.

/** One measured point of a method: budget 0..1 of the full KV footprint, and the score reached with it. */
export interface BudgetPoint {
  readonly budget: number;
  readonly score: number;
}

/** Smallest budget from which on the score stays at `keep` of the full score or above, by linear interpolation between points.
 * Points are taken in order of budget; of equal budgets the mean counts. Full attention itself is the point (1, fullScore).
 * A dip at a larger budget moves the answer above the dip: a budget is good only if every larger one is.
 * @param options.keep share of full, for example 0.9 or 0.99.
 * @returns the budget, 0 to 1; `isUpperBound` where even the smallest budget measured keeps the share, so that the crossing
 *   lies at that budget or below. */
export function findCriticalFootprint(
  points: readonly BudgetPoint[],
  options: { readonly fullScore: number; readonly keep: number },
): { readonly budget: number; readonly isUpperBound: boolean } {
  const target = options.keep * options.fullScore;
  const curve = mergeEqualBudgets([...points, { budget: 1, score: options.fullScore }]);
  let above = curve[curve.length - 1] as BudgetPoint;
  for (let index = curve.length - 2; index >= 0; index--) {
    const below = curve[index] as BudgetPoint;
    if (below.score < target) {
      const share = (target - below.score) / (above.score - below.score);
      return { budget: below.budget + share * (above.budget - below.budget), isUpperBound: false };
    }
    above = below;
  }
  return { budget: above.budget, isUpperBound: true };
}

function mergeEqualBudgets(points: readonly BudgetPoint[]): BudgetPoint[] {
  const groups = new Map<number, number[]>();
  for (const point of points) groups.set(point.budget, [...(groups.get(point.budget) ?? []), point.score]);
  return [...groups]
    .map(([budget, scores]) => ({ budget, score: scores.reduce((a, b) => a + b, 0) / scores.length }))
    .sort((a, b) => a.budget - b.budget);
}
