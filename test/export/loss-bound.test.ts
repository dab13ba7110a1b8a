// The bound where its parts are known: heads without interactions, heads that undo each other, and options of one head alone.
import { describe, expect, it } from 'vitest';
import { boundLoss } from '../../export/loss-bound.ts';
import { type ChoiceProblem, makeProblem } from '../../export/window-choice.ts';

const problemOf = (effects: number[][], windows = [10]): ChoiceProblem =>
  makeProblem({ sink: 0, windows, tokens: 100, effects }, 100);

describe('boundLoss', () => {
  it('is the loss itself, but for the ridge, where heads do not interact and the budget ends at whole heads', () => {
    const effects = [1, 2, 3, 4, 5, 6].map((weight, row) => [...new Array(row).fill(0), weight]);
    // three heads of 10 and three of 100 entries: the least loss is 1 + 2 + 3
    const { bound, spread } = boundLoss(problemOf(effects), { budget: 330, start: [0, 0, 0, 1, 1, 1] });
    expect(spread).toBeCloseTo(1, 3);
    expect(bound).toBeLessThanOrEqual(6 + 1e-9);
    expect(bound).toBeGreaterThan(5.99);
  });

  it('takes for the linear part no more than the smallest eigenvalue allows', () => {
    // pairs that undo each other to a hundredth: relative to the diagonal the smallest eigenvalue is 0.01
    const effects = [[10], [-9.9, 10], [0, 0, 10], [0, 0, -9.9, 10]];
    const { bound, spread } = boundLoss(problemOf(effects), { budget: 220, start: [0, 0, 1, 1] });
    expect(spread).toBeGreaterThan(0.0095);
    expect(spread).toBeLessThan(0.0101);
    expect(bound).toBeLessThanOrEqual(0.2);
  });

  it('does not let windows of one head, which err alike, lower it', () => {
    // two heads of two windows each: within a head the same error, between heads none
    const effects = [[4], [4, 4.1], [0, 0, 4], [0, 0, 4, 4.1]];
    const { bound, spread } = boundLoss(problemOf(effects, [10, 40]), { budget: 110, start: [0, 2] });
    expect(spread).toBeGreaterThan(0.5);
    expect(bound).toBeGreaterThan(3.8);
    expect(bound).toBeLessThanOrEqual(4);
  });
});
