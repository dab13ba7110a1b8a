// Rows taken out of a matrix by index, and rows put back at their places.
import * as tf from '@tensorflow/tfjs-core';

/** @param matrix `[n, width]`.  @param rows in 0 … n−1.  @returns `[rows, width]`. */
export function gatherRows(matrix: tf.Tensor2D, rows: readonly number[] | Int32Array): tf.Tensor2D {
  return tf.gather(matrix, tf.tensor1d(rows as number[], 'int32'));
}

/** Rows put at `places` of `count` rows, zeros elsewhere: an exact product with a 0/1 matrix.
 * @param rows `[places, width]`.  @param places distinct.  @returns `[count, width]`. */
export function scatterRows(rows: tf.Tensor2D, places: readonly number[], count: number): tf.Tensor2D {
  const placement = new Float32Array(count * places.length);
  places.forEach((place, index) => {
    placement[place * places.length + index] = 1;
  });
  return tf.matMul(tf.tensor2d(placement, [count, places.length]), rows);
}
