// Inner products of moves from what a sketch saw of them: the mean product over the random vectors, with an error of 1/√m of the moves' own lengths.
import { countPairs } from './measure-ladder.ts';

/** @param products `[m, size]`, what each vector saw of each move.  @param options.count m ≥ 1.  @param options.scale of an inner product.
 * @returns lower triangle of size rows, entry (i, j ≤ i) at i·(i+1)/2 + j, fp64. */
export function multiplySketch(products: Float32Array, options: { count: number; scale: number }): Float64Array {
  const { count, scale } = options;
  const size = products.length / count;
  const triangle = new Float64Array(countPairs(size));
  for (let vector = 0; vector < count; vector++) {
    const own = products.subarray(vector * size, (vector + 1) * size);
    for (let row = 0, at = 0; row < size; row++) {
      for (let column = 0; column <= row; column++) triangle[at++]! += (own[row] as number) * (own[column] as number);
    }
  }
  return triangle.map((sum) => (sum / count) * scale);
}
