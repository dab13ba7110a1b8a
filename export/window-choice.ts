// A choice of one window per head and what it costs: loss by the measured effects, entries of the KV cache. Moves of one head and of two at
// once are priced from a gradient that is kept up to date, so that a search can look at all of them. The search itself is in search-windows.ts.
import type { LadderEffects } from '../src/formats/gates.ts';

/** A ladder at one context length, in plain arrays. Option `rung` of a head is `head · rungs + rung`; rung `rungs` is the whole context. */
export interface ChoiceProblem {
  readonly heads: number;
  readonly rungs: number;
  /** `[n][n]`, n = heads · rungs, symmetric */
  readonly matrix: Float64Array;
  /** sum of the sizes of all its entries, which rounding errors are compared with */
  readonly magnitude: number;
  /** entries that a head keeps on each rung, the whole context last; ascending, equal where a window reaches past the length */
  readonly entries: Float64Array;
}

/** @param tokens context length at which entries are counted, ≥ 1. */
export function makeProblem(ladder: LadderEffects, tokens: number): ChoiceProblem {
  const { windows, effects, sink } = ladder;
  const size = effects.length;
  const matrix = new Float64Array(size * size);
  for (const [row, values] of effects.entries()) {
    for (const [column, value] of values.entries()) {
      matrix[row * size + column] = value;
      matrix[column * size + row] = value;
    }
  }
  const kept = windows.map((window) => Math.min(tokens, sink + window));
  return {
    heads: size / windows.length,
    rungs: windows.length,
    matrix,
    magnitude: matrix.reduce((sum, effect) => sum + Math.abs(effect), 0),
    entries: Float64Array.from([...kept, tokens]),
  };
}

export class WindowChoice {
  readonly problem: ChoiceProblem;
  /** rung of each head; `problem.rungs` = the whole context */
  readonly rungs: Int32Array;
  /** of each option, the sum of its effects with all chosen options */
  readonly #gradient: Float64Array;
  loss = 0;
  entries: number;

  /** @param rungs a start; default: every head keeps the whole context. */
  constructor(problem: ChoiceProblem, rungs?: ArrayLike<number>) {
    this.problem = problem;
    const { heads, matrix } = problem;
    this.rungs = new Int32Array(heads).fill(problem.rungs);
    this.#gradient = new Float64Array(Math.sqrt(matrix.length));
    this.entries = heads * (problem.entries[problem.rungs] as number);
    if (rungs) for (let head = 0; head < heads; head++) this.move(head, rungs[head] as number);
  }

  /** Change of the loss if `head` went to `rung`. */
  priceMove(head: number, rung: number): number {
    const { rungs: top, matrix } = this.problem;
    const size = this.#gradient.length;
    const old = this.rungs[head] as number;
    if (old === rung) return 0;
    const [from, to] = [head * top + old, head * top + rung];
    let change = 0;
    if (old !== top) change += (matrix[from * size + from] as number) - 2 * (this.#gradient[from] as number);
    if (rung !== top) change += (matrix[to * size + to] as number) + 2 * (this.#gradient[to] as number);
    if (old !== top && rung !== top) change -= 2 * (matrix[from * size + to] as number);
    return change;
  }

  /** What a move of `head` to `rung` adds to the gradient, `[n]`, into `out`. */
  fillChange(head: number, rung: number, out: Float64Array): void {
    const { rungs: top, matrix } = this.problem;
    const size = out.length;
    const old = this.rungs[head] as number;
    out.fill(0);
    if (rung !== top) {
      const row = (head * top + rung) * size;
      for (let option = 0; option < size; option++) out[option] = matrix[row + option] as number;
    }
    if (old !== top) {
      const row = (head * top + old) * size;
      for (let option = 0; option < size; option++) (out[option] as number) -= matrix[row + option] as number;
    }
  }

  /** Change of entries if `head` went to `rung`. */
  countMove(head: number, rung: number): number {
    const { entries } = this.problem;
    return (entries[rung] as number) - (entries[this.rungs[head] as number] as number);
  }

  /** Take over the state of another choice of the same problem. */
  copyFrom(other: WindowChoice): void {
    this.rungs.set(other.rungs);
    this.#gradient.set(other.#gradient);
    this.loss = other.loss;
    this.entries = other.entries;
  }

  move(head: number, rung: number): void {
    const old = this.rungs[head] as number;
    if (old === rung) return;
    this.loss += this.priceMove(head, rung);
    this.entries += this.countMove(head, rung);
    const change = new Float64Array(this.#gradient.length);
    this.fillChange(head, rung, change);
    for (let option = 0; option < change.length; option++) {
      (this.#gradient[option] as number) += change[option] as number;
    }
    this.rungs[head] = rung;
  }
}

/** Heads that could exchange their rung with a head on another one without a change of the loss beyond rounding: which of them got
 * which rung was decided by order, not by what was measured. */
export function countTies(problem: ChoiceProblem, rungs: Int32Array): number {
  const choice = new WindowChoice(problem, rungs);
  const rounding = 1e-9 * choice.loss + 1e-13 * problem.magnitude;
  const change = new Float64Array(problem.heads * problem.rungs);
  const tied = new Set<number>();
  for (let head = 0; head < problem.heads; head++) {
    const own = rungs[head] as number;
    for (let rung = 0; rung <= problem.rungs; rung++) {
      if (rung === own || !rungs.includes(rung)) continue;
      choice.fillChange(head, rung, change);
      for (let other = head + 1; other < problem.heads; other++) {
        if (rungs[other] !== rung) continue;
        const at = (option: number): number =>
          option === problem.rungs ? 0 : (change[other * problem.rungs + option] as number);
        const together = choice.priceMove(head, rung) + choice.priceMove(other, own) + 2 * (at(own) - at(rung));
        if (Math.abs(together) <= rounding) tied.add(head).add(other);
      }
    }
  }
  return tied.size;
}

/** Loss of a choice, summed anew in a fixed order, so that it does not depend on how the choice was found. */
export function measureLoss({ heads, rungs: top, matrix }: ChoiceProblem, rungs: ArrayLike<number>): number {
  const size = Math.sqrt(matrix.length);
  const chosen: number[] = [];
  for (let head = 0; head < heads; head++) {
    if (rungs[head] !== top) chosen.push(head * top + (rungs[head] as number));
  }
  let loss = 0;
  for (const row of chosen) for (const column of chosen) loss += matrix[row * size + column] as number;
  return loss;
}
