// Searches the choice of windows with the least loss within a budget of entries: greedy from the whole context down and from the narrowest
// windows up, each improved by moves of one head and exchanges of two until none helps; then from the better of both each head is forced to
// each rung and the others make room or use it, for as long as that helps. Deterministic; ties by index.
import { type ChoiceProblem, measureLoss, WindowChoice } from './window-choice.ts';

/** Forced moves are followed by exchanges of two up to this many options: their time grows with the cube of it. */
const MAX_OPTIONS_EXCHANGED = 128;
/** A change below this share of the loss, or of the sum of all effects, is rounding and no improvement: without it a search may never end. */
const MIN_GAIN = 1e-10;
const ROUNDING = 1e-13;

interface Limits {
  /** entries at most */
  readonly budget: number;
  /** of each head the widest rung */
  readonly top: Int32Array;
}

/** @param budget entries that the choice may keep at most.
 * @param widest of each head the widest rung it may take, for nested masks; default: the whole context.
 * @returns the rung of each head; null where even the narrowest windows keep more than the budget. */
export function searchWindows(
  problem: ChoiceProblem,
  { budget, widest }: { budget: number; widest?: Int32Array },
): Int32Array | null {
  const top = widest ?? new Int32Array(problem.heads).fill(problem.rungs);
  const narrowest = new WindowChoice(problem, new Int32Array(problem.heads));
  if (narrowest.entries > budget) return null;
  const starts = [narrow(new WindowChoice(problem, top), budget), widen(narrowest, { budget, top })];
  let best: WindowChoice | null = null;
  let least = Number.POSITIVE_INFINITY;
  for (const start of starts) {
    improve(start, { budget, top });
    const loss = measureLoss(problem, start.rungs);
    // the first of equals stays
    if (best !== null && loss >= least) continue;
    [best, least] = [start, loss];
  }
  while (forceEach(best as WindowChoice, { budget, top })) improve(best as WindowChoice, { budget, top });
  return (best as WindowChoice).rungs;
}

/** Narrow heads, each time where it costs the least loss per entry saved, until the budget holds. */
function narrow(choice: WindowChoice, budget: number, fixed = -1): WindowChoice {
  while (choice.entries > budget) {
    let [bestHead, bestRung, bestPrice] = [-1, -1, Number.POSITIVE_INFINITY];
    for (let head = 0; head < choice.rungs.length; head++) {
      if (head === fixed) continue;
      for (let rung = 0; rung < (choice.rungs[head] as number); rung++) {
        const saved = -choice.countMove(head, rung);
        if (saved <= 0) continue;
        const price = choice.priceMove(head, rung) / saved;
        if (price < bestPrice) [bestHead, bestRung, bestPrice] = [head, rung, price];
      }
    }
    // with one head fixed the others may be too few
    if (bestHead < 0) return choice;
    choice.move(bestHead, bestRung);
  }
  return choice;
}

/** Widen heads, each time where an entry takes most of the loss away, while the budget holds. */
function widen(choice: WindowChoice, { budget, top }: Limits, fixed = -1): WindowChoice {
  for (;;) {
    let [bestHead, bestRung, bestGain] = [-1, -1, 0];
    for (let head = 0; head < choice.rungs.length; head++) {
      if (head === fixed) continue;
      for (let rung = (choice.rungs[head] as number) + 1; rung <= (top[head] as number); rung++) {
        const added = choice.countMove(head, rung);
        if (choice.entries + added > budget) break;
        // a rung that reaches past the length costs what the next one does
        const gain = -choice.priceMove(head, rung) / Math.max(added, 1);
        if (gain > bestGain) [bestHead, bestRung, bestGain] = [head, rung, gain];
      }
    }
    if (bestHead < 0) return choice;
    choice.move(bestHead, bestRung);
  }
}

function improve(choice: WindowChoice, limits: Limits, fixed = -1): void {
  while (moveOne(choice, limits, fixed) || exchangeTwo(choice, limits, fixed)) {
    // each round lowers the loss by more than rounding, so that it ends
  }
}

/** Move each head to its best rung within the budget; true where one moved. */
function moveOne(choice: WindowChoice, { budget, top }: Limits, fixed = -1): boolean {
  let hasMoved = false;
  for (let head = 0; head < choice.rungs.length; head++) {
    if (head === fixed) continue;
    let [bestRung, bestChange] = [-1, -leastGain(choice)];
    for (let rung = 0; rung <= (top[head] as number); rung++) {
      if (choice.entries + choice.countMove(head, rung) > budget) continue;
      const change = choice.priceMove(head, rung);
      if (change < bestChange) [bestRung, bestChange] = [rung, change];
    }
    if (bestRung < 0) continue;
    choice.move(head, bestRung);
    hasMoved = true;
  }
  return hasMoved;
}

/** For each head, the best move of it and another at once, where that helps; true where two moved. */
function exchangeTwo(choice: WindowChoice, { budget, top }: Limits, fixed = -1): boolean {
  const { heads, rungs: whole, matrix } = choice.problem;
  const stride = whole + 1;
  const added = new Float64Array(Math.sqrt(matrix.length));
  const [prices, costs] = [new Float64Array(heads * stride), new Float64Array(heads * stride)];
  const price = (): void => {
    for (let head = 0; head < heads; head++) {
      for (let rung = 0; rung < stride; rung++) {
        prices[head * stride + rung] = choice.priceMove(head, rung);
        costs[head * stride + rung] = choice.countMove(head, rung);
      }
    }
  };
  price();
  let hasMoved = false;
  for (let head = 0; head < heads; head++) {
    if (head === fixed) continue;
    let best = -leastGain(choice);
    let pair: readonly [rung: number, other: number, otherRung: number] | null = null;
    for (let rung = 0; rung <= (top[head] as number); rung++) {
      if (rung === choice.rungs[head]) continue;
      choice.fillChange(head, rung, added);
      const base = prices[head * stride + rung] as number;
      const room = budget - choice.entries - (costs[head * stride + rung] as number);
      for (let other = 0; other < heads; other++) {
        if (other === head || other === fixed) continue;
        const old = choice.rungs[other] as number;
        const undone = old === whole ? 0 : 2 * (added[other * whole + old] as number);
        for (let otherRung = 0; otherRung <= (top[other] as number); otherRung++) {
          const at = other * stride + otherRung;
          if (otherRung === old || (costs[at] as number) > room) continue;
          const together = otherRung === whole ? 0 : 2 * (added[other * whole + otherRung] as number);
          const change = base + (prices[at] as number) + together - undone;
          if (change < best) {
            best = change;
            pair = [rung, other, otherRung];
          }
        }
      }
    }
    if (pair === null) continue;
    const [rung, other, otherRung] = pair;
    choice.move(head, rung);
    choice.move(other, otherRung);
    hasMoved = true;
    price();
  }
  return hasMoved;
}

/** Force each head to each rung in turn and let the others make room or use what it frees; keep what lowers the loss. True where something did. */
function forceEach(choice: WindowChoice, limits: Limits): boolean {
  const { heads, rungs } = choice.problem;
  const isSmall = heads * rungs <= MAX_OPTIONS_EXCHANGED;
  const trial = new WindowChoice(choice.problem);
  let hasImproved = false;
  for (let head = 0; head < choice.rungs.length; head++) {
    for (let rung = 0; rung <= (limits.top[head] as number); rung++) {
      if (rung === choice.rungs[head]) continue;
      trial.copyFrom(choice);
      trial.move(head, rung);
      widen(narrow(trial, limits.budget, head), limits, head);
      if (trial.entries > limits.budget) continue;
      if (isSmall) improve(trial, limits, head);
      else moveOne(trial, limits, head);
      if (trial.loss >= choice.loss - leastGain(choice)) continue;
      choice.copyFrom(trial);
      hasImproved = true;
    }
  }
  return hasImproved;
}

function leastGain({ loss, problem }: WindowChoice): number {
  return MIN_GAIN * Math.abs(loss) + ROUNDING * problem.magnitude;
}
