// Queries, keys and values of a layer from its normed input: linear maps, biases, QK norm (Qwen3), RoPE, and the gradient
// with respect to that input. Each KV head has tensors of its own, made by its own columns of the weights.
import * as tf from '@tensorflow/tfjs-core';
import type { HeadTensors } from './attention.ts';
import { applyHeadLinear, backLinear, type HeadsLinear } from './linear.ts';
import { applyRmsNorm, backRmsNorm } from './rms-norm.ts';
import { applyRotary, backRotary } from './rotary.ts';
import { scatterRows } from './row-selection.ts';
import { type RunTables, selectQueries } from './run-tables.ts';

export interface Projections {
  readonly query: HeadsLinear;
  readonly key: HeadsLinear;
  readonly value: HeadsLinear;
  /** `[D]`; null without QK norm */
  readonly queryNorm: tf.Tensor1D | null;
  readonly keyNorm: tf.Tensor1D | null;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
}

/** @param input `[T, C]`, after the layer's first norm.
 * @returns each KV head's tensors after RoPE, queries divided by √D. */
export function projectHeads(input: tf.Tensor2D, projections: Projections, tables: RunTables): HeadTensors[] {
  const { headDim } = projections;
  const queryInput = selectQueries(input, tables);
  return Array.from({ length: projections.kvHeads }, (_, kvHead) => {
    const query = projectQuery(queryInput, projections, kvHead);
    const key = projectKey(input, projections, kvHead);
    const turnedKey = applyRotary(normHeads(key, projections.keyNorm, projections), tables.keyRotary);
    return {
      query: tf.mul(
        applyRotary(normHeads(query, projections.queryNorm, projections), tables.queryRotary),
        headDim ** -0.5,
      ),
      key: tf.reshape(turnedKey, [-1, headDim]),
      value: applyHeadLinear(input, projections.value, kvHead),
    };
  });
}

/** Gradient with respect to `input`.
 * @param gradients of each output of `projectHeads`.  @returns `[T, C]`. */
export function backProjectHeads(
  input: tf.Tensor2D,
  gradients: readonly HeadTensors[],
  options: { projections: Projections; tables: RunTables },
): tf.Tensor2D {
  const { projections, tables } = options;
  const { headDim, queryNorm, keyNorm } = projections;
  const queryInput = selectQueries(input, tables);
  const queries = gradients.map(({ query }, kvHead) => {
    const straight = backRotary(tf.mul(query, headDim ** -0.5), tables.queryRotary);
    if (queryNorm === null) return straight;
    return backNormHeads(projectQuery(queryInput, projections, kvHead), straight, queryNorm, projections);
  });
  const keys = gradients.map(({ key }, kvHead) => {
    const straight = backRotary(tf.reshape(key, [1, -1, headDim]), tables.keyRotary);
    if (keyNorm === null) return straight;
    return backNormHeads(projectKey(input, projections, kvHead), straight, keyNorm, projections);
  });
  const values = gradients.map(({ value }) => tf.reshape(value, [1, -1, headDim]) as tf.Tensor3D);
  const queryGradient = backLinear(mergeHeads(queries), projections.query);
  return tf.addN([
    tables.queries === null ? queryGradient : scatterRows(queryGradient, tables.queries, input.shape[0]),
    backLinear(mergeHeads(keys), projections.key),
    backLinear(mergeHeads(values), projections.value),
  ]);
}

/** `[n, g·D]` to `[g, n, D]`. */
export function splitHeads(flat: tf.Tensor2D, headDim: number): tf.Tensor3D {
  const [count, width] = flat.shape;
  if (width === headDim) return tf.reshape(flat, [1, count, headDim]);
  return tf.transpose(tf.reshape(flat, [count, width / headDim, headDim]), [1, 0, 2]);
}

/** Several `[g, n, D]` to `[n, G·g·D]`. */
export function mergeHeads(heads: readonly tf.Tensor3D[]): tf.Tensor2D {
  const all: tf.Tensor3D = heads.length === 1 ? heads[0]! : tf.concat([...heads], 0);
  const [width, count, headDim] = all.shape;
  return tf.reshape(tf.transpose(all, [1, 0, 2]), [count, width * headDim]);
}

function projectQuery(input: tf.Tensor2D, projections: Projections, kvHead: number): tf.Tensor3D {
  return splitHeads(applyHeadLinear(input, projections.query, kvHead), projections.headDim);
}

function projectKey(input: tf.Tensor2D, projections: Projections, kvHead: number): tf.Tensor3D {
  return splitHeads(applyHeadLinear(input, projections.key, kvHead), projections.headDim);
}

function normHeads(heads: tf.Tensor3D, weight: tf.Tensor1D | null, projections: Projections): tf.Tensor3D {
  if (weight === null) return heads;
  const rows: tf.Tensor2D = tf.reshape(heads, [-1, projections.headDim]);
  return tf.reshape(applyRmsNorm(rows, weight, projections.rmsNormEps), heads.shape);
}

function backNormHeads(
  heads: tf.Tensor3D,
  gradient: tf.Tensor3D,
  weight: tf.Tensor1D,
  projections: Projections,
): tf.Tensor3D {
  const rows = (tensor: tf.Tensor3D): tf.Tensor2D => tf.reshape(tensor, [-1, projections.headDim]);
  const options = { weight, eps: projections.rmsNormEps };
  return tf.reshape(backRmsNorm(rows(heads), rows(gradient), options), heads.shape);
}
