// The order in which heads turn to streaming as the budget shrinks. A mask is 0 or 1, so heads are closed whole, one after another, always the one
// that costs least by the quadratic; each time half of the open heads have closed, the others are measured anew around the mask so far.
// So heads that back each other up are weighed without the backing they have lost. Nested: raising the fraction never turns a head back.
import type { GateGrid } from '../../src/core/shapes.ts';
import { type QuadraticModel, toGrid } from './quadratic-model.ts';

/** Heads that close before the others are measured anew: half, rounded up, and with them the last one, which has no other to be chosen from. */
export function countClosing(openHeads: number): number {
  return openHeads <= 3 ? openHeads : Math.ceil(openHeads / 2);
}

/** Open heads of each measurement after the first, which is around all heads full: 32 heads are measured again as 16, 8, 4, 2. */
export function listStages(heads: number): number[] {
  const stages: number[] = [];
  for (let open = heads - countClosing(heads); open > 0; open -= countClosing(open)) stages.push(open);
  return stages;
}

/** Close heads one after another, each the one whose closing raises the predicted loss least; of equal ones the lower index.
 * @param model measured around gates that are 1 for the open heads.  @param options.open their indices, ascending.
 * @param options.count of them to close.  @returns indices in the order of closing. Time O(count·N). */
export function eliminateHeads(model: QuadraticModel, options: { open: readonly number[]; count: number }): number[] {
  const { gram, slope } = model;
  const size = slope.length;
  const slopes = Float64Array.from(slope);
  const left = [...options.open];
  const closed: number[] = [];
  while (closed.length < options.count) {
    const costs = left.map((head) => 2 * slopes[head]! + gram[head * size + head]!);
    const [head] = left.splice(costs.indexOf(Math.min(...costs)), 1) as [number];
    closed.push(head);
    for (const other of left) slopes[other]! += gram[head * size + other]!;
  }
  return closed;
}

/** An order of closing as a ranking, k/N for the head that closes as number k. @param order all heads.  @returns `[layers][kvHeads]`. */
export function rankClosing(order: readonly number[], kvHeads: number): GateGrid {
  const flat = new Float64Array(order.length);
  order.forEach((head, index) => {
    flat[head] = index / order.length;
  });
  return toGrid(flat, kvHeads);
}
