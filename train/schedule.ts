// The learning rate of each step: a linear rise over the first fifth, flat, a linear fall over the last fifth, never below a tenth.
// Rule of DuoAttention's training code (arXiv 2410.10819), restated in docs/semantics.md, 4.

/** Least share of the full rate, at both ends. */
const FLOOR = 0.1;

/** Learning rate at step i of N: lr · min(1, max((i+1)/n, 0.1), max((N−i)/n, 0.1)) with n = max(1, ⌊N/5⌋).
 * @param step i, 0 … N−1.  @param steps N, at least 1.  @param lr full rate, above 0. */
export function computeLearningRate({ step, steps, lr }: { step: number; steps: number; lr: number }): number {
  const ramp = warmupSteps(steps);
  return lr * Math.min(1, Math.max((step + 1) / ramp, FLOOR), Math.max((steps - step) / ramp, FLOOR));
}

/** n: length of the rise and of the fall, in steps. */
export function warmupSteps(steps: number): number {
  return Math.max(1, Math.floor(steps / 5));
}
