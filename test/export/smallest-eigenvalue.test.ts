// Lanczos against matrices whose eigenvalues are known.
import { expect, test } from 'vitest';
import { findSmallestEigenvalue } from '../../export/smallest-eigenvalue.ts';

const apply = (matrix: readonly (readonly number[])[]) => (vector: Float64Array, out: Float64Array) => {
  for (const [row, values] of matrix.entries()) {
    out[row] = values.reduce((sum, value, column) => sum + value * (vector[column] as number), 0);
  }
};

test('of a diagonal matrix, negative or not', () => {
  const matrix = [5, -2, 3, 8].map((value, row) => [0, 1, 2, 3].map((column) => (row === column ? value : 0)));
  const { value, residual } = findSmallestEigenvalue(apply(matrix), { size: 4, steps: 10 });
  expect(value).toBeCloseTo(-2, 9);
  expect(residual).toBeLessThan(1e-6);
});

test('of the second difference, 2 − 2 cos(π / (n + 1))', () => {
  const size = 40;
  const matrix = Array.from({ length: size }, (_, row) =>
    Array.from({ length: size }, (_, column) => (row === column ? 2 : Math.abs(row - column) === 1 ? -1 : 0)),
  );
  const exact = 2 - 2 * Math.cos(Math.PI / (size + 1));
  expect(findSmallestEigenvalue(apply(matrix), { size, steps: size }).value).toBeCloseTo(exact, 9);
  // cut short, the residual says how far off it may be
  const early = findSmallestEigenvalue(apply(matrix), { size, steps: 12 });
  expect(early.value).toBeGreaterThan(exact);
  expect(early.value - early.residual).toBeLessThanOrEqual(exact);
});

test('of a multiple of the identity, where one step is all there is', () => {
  const matrix = [0, 1, 2].map((row) => [0, 1, 2].map((column) => (row === column ? 4 : 0)));
  expect(findSmallestEigenvalue(apply(matrix), { size: 3, steps: 5 }).value).toBeCloseTo(4, 12);
});
