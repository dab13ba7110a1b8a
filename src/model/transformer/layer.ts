// One transformer layer: attention and feed-forward, each after a norm and around a residual, and its gradient.
// The forward pass keeps the layer's input and the stream between the two blocks; the rest is computed again going back.
import * as tf from '@tensorflow/tfjs-core';
import { type AttentionMix, backAttention, backAttentionGates, type HeadTensors, mixAttention } from './attention.ts';
import { applyFeedForward, backFeedForward, type FeedForward } from './feed-forward.ts';
import { applyLinear, type OutputLinear } from './linear.ts';
import { backProjectHeads, mergeHeads, type Projections, projectHeads, splitHeads } from './projections.ts';
import { applyRmsNorm, backRmsNorm } from './rms-norm.ts';
import { scatterRows } from './row-selection.ts';
import { type RunTables, selectQueries } from './run-tables.ts';

/** Frozen weights of one layer. */
export interface LayerWeights {
  /** `[C]` */
  readonly inputNorm: tf.Tensor1D;
  readonly projections: Projections;
  readonly output: OutputLinear;
  /** `[C]` */
  readonly middleNorm: tf.Tensor1D;
  readonly feedForward: FeedForward;
  readonly rmsNormEps: number;
}

/** What a layer needs besides its input; n queries, usually all T. */
export interface LayerContext {
  readonly weights: LayerWeights;
  readonly tables: RunTables;
  /** window of each KV head's streaming branch; null = the whole context */
  readonly windows: readonly (number | null)[];
  /** one gate per KV head; null = full attention everywhere */
  readonly gates: readonly number[] | null;
  /** constants `[g, n, D]` per KV head that replace the full branch; null = the layer's own */
  readonly fullOutputs: readonly tf.Tensor3D[] | null;
}

export type LayerStates = {
  /** `[n, C]`, after the attention block */
  readonly middle: tf.Tensor2D;
  /** `[n, C]` */
  readonly output: tf.Tensor2D;
  /** each KV head's `[g, n, D]`, before o_proj */
  readonly attention: tf.Tensor3D[];
};

/** @param input `[T, C]`. */
export function runLayer(input: tf.Tensor2D, context: LayerContext): LayerStates {
  const { weights, tables } = context;
  const normed = applyRmsNorm(input, weights.inputNorm, weights.rmsNormEps);
  const attention = mixAttention(projectHeads(normed, weights.projections, tables), mixOf(context));
  return { attention, ...finishLayer(selectQueries(input, tables), attention, weights) };
}

/** From the attention output to the layer's output.
 * @param input `[n, C]`.  @param attention each KV head's `[g, n, D]`. */
export function finishLayer(
  input: tf.Tensor2D,
  attention: readonly tf.Tensor3D[],
  weights: LayerWeights,
): { middle: tf.Tensor2D; output: tf.Tensor2D } {
  const middle: tf.Tensor2D = tf.add(input, applyLinear(mergeHeads(attention), weights.output));
  const normed = applyRmsNorm(middle, weights.middleNorm, weights.rmsNormEps);
  return { middle, output: tf.add(middle, applyFeedForward(normed, weights.feedForward)) };
}

/** Gradient of `runLayer` with respect to its input `[T, C]` and its gates `[G]`.
 * @param states.input `[T, C]` and states.middle `[n, C]` of the forward pass.  @param outputGradient `[n, C]`.
 * @param options.gatesOnly true leaves the input's gradient out (null), as nothing below the first layer needs it. */
export function backLayer(
  states: { input: tf.Tensor2D; middle: tf.Tensor2D },
  outputGradient: tf.Tensor2D,
  options: LayerContext & { gatesOnly: boolean },
): { input: tf.Tensor2D | null; gates: tf.Tensor1D } {
  const { weights, tables } = options;
  const { input, middle } = states;
  const eps = weights.rmsNormEps;
  const middleGradient = tf.tidy((): tf.Tensor2D => {
    const normed = applyRmsNorm(middle, weights.middleNorm, eps);
    const inner = backFeedForward(normed, outputGradient, weights.feedForward);
    return tf.add(outputGradient, backRmsNorm(middle, inner, { weight: weights.middleNorm, eps }));
  });
  const normed = applyRmsNorm(input, weights.inputNorm, eps);
  const heads = projectHeads(normed, weights.projections, tables);
  const attentionGradients = weights.output.backward.map((columns) =>
    splitHeads(tf.matMul(middleGradient, columns), weights.projections.headDim),
  );
  if (options.gatesOnly) {
    return { input: null, gates: backAttentionGates(heads, attentionGradients, mixOf(options)) };
  }
  const gradient = backAttention(heads, attentionGradients, mixOf(options));
  const inner = backProjectHeads(normed, gradient.heads, { projections: weights.projections, tables });
  const through = backRmsNorm(input, inner, { weight: weights.inputNorm, eps });
  const around = tables.queries === null ? middleGradient : scatterRows(middleGradient, tables.queries, input.shape[0]);
  return { input: tf.add(around, through), gates: gradient.gates };
}

/** A layer up to its attention, in parts: what `finishLayer` needs, and each head's tensors, so that one head can be mixed anew. */
export type AttendedLayer = {
  /** `[n, C]`, the layer's input at its queries */
  readonly stream: tf.Tensor2D;
  readonly heads: HeadTensors[];
  /** each KV head's `[g, n, D]` under the context's gates */
  readonly attention: tf.Tensor3D[];
};

/** @param input `[T, C]`. */
export function attendLayer(input: tf.Tensor2D, context: LayerContext): AttendedLayer {
  const { weights, tables } = context;
  const heads = projectHeads(applyRmsNorm(input, weights.inputNorm, weights.rmsNormEps), weights.projections, tables);
  return { stream: tf.clone(selectQueries(input, tables)), heads, attention: mixAttention(heads, mixOf(context)) };
}

/** Attention of one KV head under another gate. @returns `[g, n, D]`. */
export function remixHead(
  attended: AttendedLayer,
  context: LayerContext,
  change: { kvHead: number; gate: number },
): tf.Tensor3D {
  const windows = [context.windows[change.kvHead]!];
  const mix = { visibility: context.tables.visibility, windows, gates: [change.gate], fullOutputs: null };
  return mixAttention([attended.heads[change.kvHead]!], mix)[0]!;
}

function mixOf(context: LayerContext): AttentionMix {
  const { tables, windows, gates, fullOutputs } = context;
  return { visibility: tables.visibility, windows, gates, fullOutputs };
}
