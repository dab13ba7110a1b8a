// What sampling noise a sketch leaves in its inner products of different heads, taken out on average. Their true correlations are small, and a search
// over choices of heads would pick just those pairs whose noise speaks for them. Linear shrinkage: each is multiplied by the share of their mean square
// that is not noise, the best single factor in mean square error. Products of a head with itself are left as they are, and the matrix stays
// positive semidefinite, as a mean of two that are.

/** Shrink in place.
 * @param matrix `[size, size]` fp64, symmetric; rows `headOf` gives a head alike are one head's; a negative head's row is left alone.
 * @param options.draws vectors of all samples together: a correlation's noise is 1/√draws, as far as samples weigh alike.
 * @returns the factor, 0..1; 1 where there are no two heads that move. */
export function shrinkSketch(
  matrix: Float64Array,
  options: { headOf: (row: number) => number; draws: number },
): number {
  const { headOf, draws } = options;
  const size = Math.round(Math.sqrt(matrix.length));
  const heads = Array.from({ length: size }, (_, row) => headOf(row));
  const isPair = (row: number, column: number): boolean =>
    (heads[row] as number) >= 0 && (heads[column] as number) >= 0 && heads[row] !== heads[column];
  let squares = 0;
  let count = 0;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < row; column++) {
      const sizes = (matrix[row * size + row] as number) * (matrix[column * size + column] as number);
      if (!(sizes > 0) || !isPair(row, column)) continue;
      squares += (matrix[row * size + column] as number) ** 2 / sizes;
      count++;
    }
  }
  if (squares === 0) return 1;
  const factor = Math.max(0, 1 - count / draws / squares);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) if (isPair(row, column)) matrix[row * size + column]! *= factor;
  }
  return factor;
}
