// Small counts over lists of numbers that several rooms need, written once.

/** A gate at this value or above counts as open, … */
export const OPEN_GATE = 0.95;
/** … one at this value or below as closed. */
export const CLOSED_GATE = 0.05;

/** The middle value, of an even number of values the mean of the two. @param values at least one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length % 2 === 1) return sorted[middle] as number;
  return ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Index of the largest value, the lowest index of a tie; 0 of an empty list. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let index = 1; index < values.length; index++) {
    if ((values[index] as number) > (values[best] as number)) best = index;
  }
  return best;
}

/** How many gates are open, closed and neither. @param gates values in [0, 1], in any order. */
export function countGateStates(gates: readonly number[]): { open: number; closed: number; undecided: number } {
  const open = gates.filter((gate) => gate >= OPEN_GATE).length;
  const closed = gates.filter((gate) => gate <= CLOSED_GATE).length;
  return { open, closed, undecided: gates.length - open - closed };
}
