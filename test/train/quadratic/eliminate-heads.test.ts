// Nested elimination: against every order of a small model, heads that back each other up, ties, the halving of its stages.
import { describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { countClosing, eliminateHeads, listStages, rankClosing } from '../../../train/quadratic/eliminate-heads.ts';
import type { QuadraticModel } from '../../../train/quadratic/quadratic-model.ts';
import { predictLoss } from './predict-loss.ts';

/** Heads whose closing moves the hidden states by these vectors, from a mask that is already `residual` away. */
function makeModel(moves: number[][], residual: number[]): QuadraticModel {
  const dot = (a: number[], b: number[]): number => a.reduce((sum, value, index) => sum + value * b[index]!, 0);
  return {
    center: new Float64Array(moves.length),
    loss: dot(residual, residual),
    slope: Float64Array.from(moves, (move) => dot(move, residual)),
    gram: Float64Array.from(moves.flatMap((a) => moves.map((b) => dot(a, b)))),
  };
}

/** Predicted loss with some heads closed. */
function lossOf(model: QuadraticModel, closed: readonly number[]): number {
  return predictLoss(
    model,
    Float64Array.from(model.slope, (_, head) => Number(!closed.includes(head))),
  );
}

describe('eliminateHeads', () => {
  it.each([1, 2, 3])('takes at each step the head that raises the predicted loss least (seed %i)', (seed) => {
    const random = makeRandom(seed, 'elimination');
    const draw = (scale: number): number[] => Array.from({ length: 5 }, () => scale * (random.uniform() - 0.3));
    const model = makeModel(
      Array.from({ length: 9 }, () => draw(1)),
      draw(0.5),
    );
    const open = [0, 2, 3, 4, 7, 8];
    const order = eliminateHeads(model, { open, count: 6 });
    expect([...order].sort((a, b) => a - b)).toEqual(open);
    order.forEach((head, step) => {
      const before = order.slice(0, step);
      const left = open.filter((other) => !before.includes(other));
      const best = Math.min(...left.map((other) => lossOf(model, [...before, other])));
      expect(lossOf(model, [...before, head])).toBeCloseTo(best, 12);
    });
    expect(eliminateHeads(model, { open, count: 2 })).toEqual(order.slice(0, 2));
  });

  it('keeps one of two heads that do the same, and knows that heads may cancel', () => {
    // 0 and 1 move the states alike, each less than head 2 does; closing both would move them further than closing 2.
    expect(
      eliminateHeads(
        makeModel(
          [
            [1, 0],
            [1, 0],
            [0, 1.5],
          ],
          [0, 0],
        ),
        { open: [0, 1, 2], count: 2 },
      ),
    ).toEqual([0, 2]);
    // Once 0 is closed, closing 2 takes its move back.
    expect(
      eliminateHeads(
        makeModel(
          [
            [1, 0],
            [0, 1.1],
            [-1.2, 0],
          ],
          [0, 0],
        ),
        { open: [0, 1, 2], count: 3 },
      ),
    ).toEqual([0, 2, 1]);
  });

  it('breaks ties by index', () => {
    const model = makeModel(
      [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
      ],
      [0, 0, 0],
    );
    expect(eliminateHeads(model, { open: [0, 1, 2], count: 3 })).toEqual([0, 1, 2]);
  });
});

it('measures again at every half, and chooses the last two by one measurement', () => {
  expect(listStages(32)).toEqual([16, 8, 4, 2]);
  expect(listStages(9)).toEqual([4, 2]);
  expect(listStages(7)).toEqual([3]);
  expect(listStages(3)).toEqual([]);
  expect([1, 2, 3, 4, 5, 256].map(countClosing)).toEqual([1, 2, 3, 2, 3, 128]);
});

it('gives an order as a ranking that no tie decides', () => {
  expect(rankClosing([3, 0, 2, 1], 2)).toEqual([
    [0.25, 0.75],
    [0.5, 0],
  ]);
});
