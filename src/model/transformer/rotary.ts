// Rotary position embedding in the "rotate half" form, and its gradient, which is the rotation by the opposite angle.
// Half-rotation is a product with a signed permutation matrix: exact, and quicker on tfjs than slices along the last axis.
import * as tf from '@tensorflow/tfjs-core';
import type { ModelConfig } from '../config.ts';
import { computeRotaryTables } from '../rope.ts';

/** Tables for the positions of one run of tokens. */
export type Rotary = {
  /** `[T, D]` fp32, both halves alike */
  readonly cos: tf.Tensor2D;
  readonly sin: tf.Tensor2D;
  /** `[D, D]`: x·halfTurn = (−x₂, x₁) for x = (x₁, x₂) */
  readonly halfTurn: tf.Tensor2D;
};

/** Tables of positions start … start+count−1.
 * @param options.maxTokens declared maximum, which fixes the base under dynamic scaling. */
export function makeRotary(config: ModelConfig, options: { start: number; count: number; maxTokens: number }): Rotary {
  const dim = config.shape.headDim;
  const half = dim / 2;
  const tables = computeRotaryTables(config, options);
  const widen = (table: Float32Array): tf.Tensor2D => {
    const wide = new Float32Array(options.count * dim);
    for (let row = 0; row < options.count; row++) {
      const angles = table.subarray(row * half, (row + 1) * half);
      wide.set(angles, row * dim);
      wide.set(angles, row * dim + half);
    }
    return tf.tensor2d(wide, [options.count, dim]);
  };
  const turn = new Float32Array(dim * dim);
  for (let column = 0; column < half; column++) {
    turn[(column + half) * dim + column] = -1;
    turn[column * dim + column + half] = 1;
  }
  return { cos: widen(tables.cos), sin: widen(tables.sin), halfTurn: tf.tensor2d(turn, [dim, dim]) };
}

/** Rotate every head's rows.
 * @param heads `[N, T, D]`, any number of heads.  @returns `[N, T, D]`. */
export function applyRotary(heads: tf.Tensor3D, rotary: Rotary): tf.Tensor3D {
  return tf.add(tf.mul(heads, rotary.cos), tf.mul(turnHalf(heads, rotary), rotary.sin));
}

/** Gradient with respect to the input of `applyRotary`.
 * @param outputGradient `[N, T, D]`.  @returns `[N, T, D]`. */
export function backRotary(outputGradient: tf.Tensor3D, rotary: Rotary): tf.Tensor3D {
  return tf.sub(tf.mul(outputGradient, rotary.cos), turnHalf(tf.mul(outputGradient, rotary.sin), rotary));
}

function turnHalf(heads: tf.Tensor3D, rotary: Rotary): tf.Tensor3D {
  const dim = heads.shape[2];
  return tf.reshape(tf.matMul(tf.reshape(heads, [-1, dim]) as tf.Tensor2D, rotary.halfTurn), heads.shape);
}
