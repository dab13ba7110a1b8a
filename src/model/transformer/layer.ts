// One transformer layer: attention and feed-forward, each after a norm and around a residual, and its gradient.
// The forward pass keeps the layer's input and the stream between the two blocks; the rest is computed again going back.
import * as tf from '@tensorflow/tfjs-core';
import { type AttentionMix, backAttention, backAttentionGates, mixAttention } from './attention.ts';
import { applyFeedForward, backFeedForward, type FeedForward } from './feed-forward.ts';
import { applyLinear, backLinear, type Linear } from './linear.ts';
import { backProjectHeads, mergeHeads, type Projections, projectHeads, splitHeads } from './projections.ts';
import { applyRmsNorm, backRmsNorm } from './rms-norm.ts';
import type { Rotary } from './rotary.ts';

/** Frozen weights of one layer. */
export interface LayerWeights {
  /** `[C]` */
  readonly inputNorm: tf.Tensor1D;
  readonly projections: Projections;
  readonly output: Linear;
  /** `[C]` */
  readonly middleNorm: tf.Tensor1D;
  readonly feedForward: FeedForward;
  readonly rmsNormEps: number;
}

/** What a layer needs besides its input. */
export interface LayerContext {
  readonly weights: LayerWeights;
  readonly rotary: Rotary;
  readonly mix: AttentionMix;
}

export type LayerStates = {
  /** `[T, C]`, after the attention block */
  readonly middle: tf.Tensor2D;
  /** `[T, C]` */
  readonly output: tf.Tensor2D;
  /** `[H, T, D]`, before o_proj */
  readonly attention: tf.Tensor3D;
};

/** @param input `[T, C]`. */
export function runLayer(input: tf.Tensor2D, context: LayerContext): LayerStates {
  const { weights, rotary, mix } = context;
  const normed = applyRmsNorm(input, weights.inputNorm, weights.rmsNormEps);
  const attention = mixAttention(projectHeads(normed, weights.projections, rotary), mix);
  return { attention, ...finishLayer(input, attention, weights) };
}

/** From the attention output to the layer's output.
 * @param input `[T, C]`.  @param attention `[H, T, D]`. */
export function finishLayer(
  input: tf.Tensor2D,
  attention: tf.Tensor3D,
  weights: LayerWeights,
): { middle: tf.Tensor2D; output: tf.Tensor2D } {
  const middle: tf.Tensor2D = tf.add(input, applyLinear(mergeHeads(attention), weights.output));
  const normed = applyRmsNorm(middle, weights.middleNorm, weights.rmsNormEps);
  return { middle, output: tf.add(middle, applyFeedForward(normed, weights.feedForward)) };
}

/** Gradient of `runLayer` with respect to its input and its gates.
 * @param states.input `[T, C]` and states.middle `[T, C]` of the forward pass.  @param outputGradient `[T, C]`.
 * @param options.gatesOnly true leaves the input's gradient out (null), as nothing below the first layer needs it. */
export function backLayer(
  states: { input: tf.Tensor2D; middle: tf.Tensor2D },
  outputGradient: tf.Tensor2D,
  options: LayerContext & { gatesOnly: boolean },
): { input: tf.Tensor2D | null; gates: tf.Tensor1D } {
  const { weights, rotary, mix } = options;
  const { input, middle } = states;
  const eps = weights.rmsNormEps;
  const middleGradient = tf.tidy((): tf.Tensor2D => {
    const normed = applyRmsNorm(middle, weights.middleNorm, eps);
    const inner = backFeedForward(normed, outputGradient, weights.feedForward);
    return tf.add(outputGradient, backRmsNorm(middle, inner, { weight: weights.middleNorm, eps }));
  });
  const normed = applyRmsNorm(input, weights.inputNorm, eps);
  const heads = projectHeads(normed, weights.projections, rotary);
  const attentionGradient = splitHeads(backLinear(middleGradient, weights.output), weights.projections.headDim);
  if (options.gatesOnly) return { input: null, gates: backAttentionGates(heads, attentionGradient, mix) };
  const gradient = backAttention(heads, attentionGradient, mix);
  const inner = backProjectHeads(normed, gradient, { projections: weights.projections, rotary });
  const through = backRmsNorm(input, inner, { weight: weights.inputNorm, eps });
  return { input: tf.add(middleGradient, through), gates: gradient.gates };
}
