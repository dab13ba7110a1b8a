// The box solver against brute force over all active sets, on random small Gram matrices, and at its edges.
import { describe, expect, it } from 'vitest';
import { makeRandom, type Random } from '../../../src/core/random.ts';
import { solveBox } from '../../../train/quadratic/solve-box.ts';

/** Gram matrix of `size` random rows; fewer columns than rows make it singular. */
function drawGram(random: Random, size: number, columns: number): Float64Array {
  const rows = Array.from({ length: size }, () => Array.from({ length: columns }, () => random.uniform() * 2 - 1));
  return Float64Array.from(
    rows.flatMap((a) => rows.map((b) => a.reduce((sum, value, index) => sum + value * b[index]!, 0))),
  );
}

function evaluateAt(matrix: Float64Array, linear: Float64Array, point: ArrayLike<number>): number {
  const size = linear.length;
  let value = 0;
  for (let i = 0; i < size; i++) {
    value += linear[i]! * point[i]!;
    for (let j = 0; j < size; j++) value += point[i]! * matrix[i * size + j]! * point[j]!;
  }
  return value;
}

/** Solve A·x = y by elimination with pivots; null where A is singular. */
function solveLinear(a: number[][], y: number[]): number[] | null {
  const rows = a.map((row, index) => [...row, y[index]!]);
  const size = rows.length;
  for (let column = 0; column < size; column++) {
    const pivot = rows
      .slice(column)
      .reduce((best, row) => (Math.abs(row[column]!) > Math.abs(best[column]!) ? row : best));
    if (Math.abs(pivot[column]!) < 1e-12) return null;
    rows.splice(rows.indexOf(pivot), 1);
    rows.splice(column, 0, pivot);
    for (const row of rows) {
      if (row === pivot) continue;
      const factor = row[column]! / pivot[column]!;
      for (let index = column; index <= size; index++) row[index]! -= factor * pivot[index]!;
    }
  }
  return rows.map((row, index) => row[size]! / row[index]!);
}

/** The least value over all ways to fix coordinates at 0 or 1 and leave the others free. */
function bruteForce(matrix: Float64Array, linear: Float64Array): number {
  const size = linear.length;
  let best = Number.POSITIVE_INFINITY;
  for (let code = 0; code < 3 ** size; code++) {
    const states = Array.from({ length: size }, (_, index) => Math.floor(code / 3 ** index) % 3);
    const free = states.flatMap((state, index) => (state === 2 ? [index] : []));
    const point = states.map((state) => (state === 2 ? 0 : state));
    const a = free.map((i) => free.map((j) => 2 * matrix[i * size + j]!));
    const y = free.map(
      (i) => -linear[i]! - 2 * point.reduce((sum, value, j) => sum + matrix[i * size + j]! * value, 0),
    );
    const solved = free.length === 0 ? [] : solveLinear(a, y);
    if (solved === null || solved.some((value) => value < 0 || value > 1)) continue;
    free.forEach((index, at) => {
      point[index] = solved[at]!;
    });
    best = Math.min(best, evaluateAt(matrix, linear, point));
  }
  return best;
}

describe('solveBox', () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    it(`finds the brute-force minimum of random problems (seed ${seed})`, () => {
      const random = makeRandom(seed, 'box');
      for (let problem = 0; problem < 10; problem++) {
        const size = 1 + random.integer(5);
        const matrix = drawGram(random, size, 1 + random.integer(7));
        const linear = Float64Array.from({ length: size }, () => random.uniform() * 2 - 1.5);
        const { point, residual } = solveBox({ matrix, linear });
        expect(point.every((value) => value >= 0 && value <= 1)).toBe(true);
        expect(residual).toBeLessThan(1e-9);
        expect(evaluateAt(matrix, linear, point)).toBeCloseTo(bruteForce(matrix, linear), 8);
      }
    });
  }

  it('gives the same bytes twice, and the same point from any start where it is unique', () => {
    const random = makeRandom(3, 'start');
    const matrix = drawGram(random, 12, 40);
    const linear = Float64Array.from({ length: 12 }, () => -4 * random.uniform());
    const cold = solveBox({ matrix, linear }).point;
    expect(solveBox({ matrix, linear }).point).toEqual(cold);
    const warm = solveBox({ matrix, linear, start: new Float64Array(12).fill(1) }).point;
    warm.forEach((value, index) => {
      expect(value).toBeCloseTo(cold[index]!, 7);
    });
  });

  it('sends coordinates without curvature to the side their slope points to, and leaves those without slope', () => {
    const start = Float64Array.of(0.5, 0.5, 0.25);
    const { point } = solveBox({ matrix: new Float64Array(9), linear: Float64Array.of(-1, 1, 0), start });
    expect([...point]).toEqual([1, 0, 0.25]);
  });
});
