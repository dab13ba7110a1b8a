// Queries, keys and values of a layer from its normed input: linear maps, biases, QK norm (Qwen3), RoPE, and the gradient
// with respect to that input.
import * as tf from '@tensorflow/tfjs-core';
import type { HeadTensors } from './attention.ts';
import { applyLinear, backLinear, type Linear } from './linear.ts';
import { applyRmsNorm, backRmsNorm } from './rms-norm.ts';
import { applyRotary, backRotary, type Rotary } from './rotary.ts';

export interface Projections {
  readonly query: Linear;
  readonly key: Linear;
  readonly value: Linear;
  /** `[D]`; null without QK norm */
  readonly queryNorm: tf.Tensor1D | null;
  readonly keyNorm: tf.Tensor1D | null;
  readonly headDim: number;
  readonly rmsNormEps: number;
}

/** @param input `[T, C]`, after the layer's first norm.  @returns heads after RoPE, queries divided by √D. */
export function projectHeads(input: tf.Tensor2D, projections: Projections, rotary: Rotary): HeadTensors {
  const { headDim } = projections;
  const query = splitHeads(applyLinear(input, projections.query), headDim);
  const key = splitHeads(applyLinear(input, projections.key), headDim);
  const eps = projections.rmsNormEps;
  return {
    query: tf.mul(applyRotary(normHeads(query, projections.queryNorm, eps), rotary), headDim ** -0.5),
    key: applyRotary(normHeads(key, projections.keyNorm, eps), rotary),
    value: splitHeads(applyLinear(input, projections.value), headDim),
  };
}

/** Gradient with respect to `input`.
 * @param gradient of each output of `projectHeads`.  @returns `[T, C]`. */
export function backProjectHeads(
  input: tf.Tensor2D,
  gradient: HeadTensors,
  options: { projections: Projections; rotary: Rotary },
): tf.Tensor2D {
  const { projections, rotary } = options;
  const backRotated = (turned: tf.Tensor3D, linear: Linear, norm: tf.Tensor1D | null): tf.Tensor2D => {
    const straight = backRotary(turned, rotary);
    if (norm === null) return backLinear(mergeHeads(straight), linear);
    const heads = splitHeads(applyLinear(input, linear), projections.headDim);
    return backLinear(
      mergeHeads(backNormHeads(heads, straight, { weight: norm, eps: projections.rmsNormEps })),
      linear,
    );
  };
  return tf.addN([
    backRotated(tf.mul(gradient.query, projections.headDim ** -0.5), projections.query, projections.queryNorm),
    backRotated(gradient.key, projections.key, projections.keyNorm),
    backLinear(mergeHeads(gradient.value), projections.value),
  ]);
}

/** `[T, N·D]` to `[N, T, D]`. */
export function splitHeads(flat: tf.Tensor2D, headDim: number): tf.Tensor3D {
  const [tokens, width] = flat.shape;
  return tf.transpose(tf.reshape(flat, [tokens, width / headDim, headDim]), [1, 0, 2]);
}

/** `[N, T, D]` to `[T, N·D]`. */
export function mergeHeads(heads: tf.Tensor3D): tf.Tensor2D {
  const [count, tokens, headDim] = heads.shape;
  return tf.reshape(tf.transpose(heads, [1, 0, 2]), [tokens, count * headDim]);
}

function normHeads(heads: tf.Tensor3D, weight: tf.Tensor1D | null, eps: number): tf.Tensor3D {
  if (weight === null) return heads;
  return tf.reshape(applyRmsNorm(tf.reshape(heads, [-1, heads.shape[2]]), weight, eps), heads.shape);
}

function backNormHeads(
  heads: tf.Tensor3D,
  gradient: tf.Tensor3D,
  options: { weight: tf.Tensor1D; eps: number },
): tf.Tensor3D {
  const dim = heads.shape[2];
  return tf.reshape(backRmsNorm(tf.reshape(heads, [-1, dim]), tf.reshape(gradient, [-1, dim]), options), heads.shape);
}
