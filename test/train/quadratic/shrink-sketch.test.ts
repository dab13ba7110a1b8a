// Shrinking a sketch: products of different heads come nearer to the true ones, pure noise goes, a head's own products stay.
import { expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { drawSigns } from '../../../train/quadratic/draw-signs.ts';
import { shrinkSketch } from '../../../train/quadratic/shrink-sketch.ts';

const SIZE = 24;
const LENGTH = 400;
const DRAWS = 32;
const headOf = (row: number): number => Math.floor(row / 2);

/** Moves of 12 heads at two windows each, all with a share `common` of one direction, of growing lengths; their products, and those seen by a sketch. */
function makeProducts(common: number): { exact: Float64Array; seen: Float64Array } {
  const random = makeRandom(3, 'shrink', common);
  const direction = Array.from({ length: LENGTH }, () => random.uniform() - 0.5);
  const rows = Array.from({ length: SIZE }, (_, row) =>
    direction.map((value) => (1 + row) * (common * value + random.uniform() - 0.5)),
  );
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
    let sum = 0;
    for (let index = 0; index < LENGTH; index++) sum += a[index]! * b[index]!;
    return sum;
  };
  const signs = drawSigns(random, DRAWS * LENGTH);
  const views = rows.map((row) =>
    Array.from({ length: DRAWS }, (_, draw) => dot(row, signs.subarray(draw * LENGTH, (draw + 1) * LENGTH))),
  );
  const square = (of: (row: number, column: number) => number): Float64Array =>
    Float64Array.from({ length: SIZE * SIZE }, (_, at) => of(Math.floor(at / SIZE), at % SIZE));
  return {
    exact: square((row, column) => dot(rows[row]!, rows[column]!)),
    seen: square(
      (row, column) => views[row]!.reduce((sum, view, draw) => sum + view * views[column]![draw]!, 0) / DRAWS,
    ),
  };
}

/** Root mean square of the errors of correlations between different heads. */
function errorOf(found: Float64Array, exact: Float64Array): number {
  let [sum, count] = [0, 0];
  for (let row = 0; row < SIZE; row++) {
    for (let column = 0; column < row; column++) {
      if (headOf(row) === headOf(column)) continue;
      const scale = Math.sqrt(exact[row * (SIZE + 1)]! * exact[column * (SIZE + 1)]!);
      sum += ((found[row * SIZE + column]! - exact[row * SIZE + column]!) / scale) ** 2;
      count++;
    }
  }
  return Math.sqrt(sum / count);
}

it.each([0.2, 0.4])('brings products of heads that share %f of their moves nearer to the true ones', (common) => {
  const { exact, seen } = makeProducts(common);
  const shrunk = seen.slice();
  const factor = shrinkSketch(shrunk, { headOf, draws: DRAWS });
  expect(factor).toBeGreaterThanOrEqual(0);
  expect(factor).toBeLessThan(1);
  expect(errorOf(shrunk, exact)).toBeLessThan(0.85 * errorOf(seen, exact));
  for (let row = 0; row < SIZE; row++) {
    for (let column = 0; column < SIZE; column++) {
      const at = row * SIZE + column;
      if (headOf(row) === headOf(column)) expect(shrunk[at]).toBe(seen[at]);
      else expect(shrunk[at]).toBe(seen[at]! * factor);
    }
  }
});

it('takes out what is smaller than the noise, and little of what stands far above it', () => {
  const { seen } = makeProducts(0);
  const noise = seen.slice();
  expect(shrinkSketch(noise, { headOf, draws: 20 })).toBe(0);
  expect(noise[SIZE]).toBe(seen[SIZE]);
  expect(noise[2 * SIZE]).toBe(0);
  expect(shrinkSketch(makeProducts(5).seen, { headOf, draws: DRAWS })).toBeGreaterThan(0.95);
});

it('leaves heads that do not move, and rows of no head', () => {
  const matrix = Float64Array.of(1, 0.5, 0, 0.5, 1, 0, 0, 0, 0);
  expect(shrinkSketch(matrix, { headOf: (row) => row, draws: 8 })).toBe(0.5);
  expect(Array.from(matrix)).toEqual([1, 0.25, 0, 0.25, 1, 0, 0, 0, 0]);
  expect(shrinkSketch(new Float64Array(4), { headOf: (row) => row, draws: 8 })).toBe(1);
  const residual = Float64Array.of(1, 0.5, 0.5, 1);
  expect(shrinkSketch(residual, { headOf: (row) => (row === 1 ? -1 : row), draws: 8 })).toBe(1);
  expect(Array.from(residual)).toEqual([1, 0.5, 0.5, 1]);
});
