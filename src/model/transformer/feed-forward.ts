// SwiGLU feed-forward block, down(silu(gate(x)) · up(x)), and its gradient with respect to x.
import * as tf from '@tensorflow/tfjs-core';
import { applyLinear, backLinear, type Linear } from './linear.ts';

export interface FeedForward {
  readonly gate: Linear;
  readonly up: Linear;
  readonly down: Linear;
}

/** @param input `[n, C]`.  @returns `[n, C]`. */
export function applyFeedForward(input: tf.Tensor2D, block: FeedForward): tf.Tensor2D {
  const gate = applyLinear(input, block.gate);
  const up = applyLinear(input, block.up);
  return applyLinear(tf.mul(tf.mul(gate, tf.sigmoid(gate)), up), block.down);
}

/** Gradient with respect to `input`; the activations are computed again from it.
 * @param outputGradient `[n, C]`.  @returns `[n, C]`. */
export function backFeedForward(input: tf.Tensor2D, outputGradient: tf.Tensor2D, block: FeedForward): tf.Tensor2D {
  const gate = applyLinear(input, block.gate);
  const up = applyLinear(input, block.up);
  const sigmoid = tf.sigmoid(gate);
  const silu = tf.mul(gate, sigmoid);
  const inner = backLinear(outputGradient, block.down);
  // d silu / dx = σ + silu·(1 − σ)
  const slope = tf.add(sigmoid, tf.sub(silu, tf.mul(silu, sigmoid)));
  const gateGradient = tf.mul(tf.mul(inner, up), slope) as tf.Tensor2D;
  const upGradient = tf.mul(inner, silu) as tf.Tensor2D;
  return tf.add(backLinear(gateGradient, block.gate), backLinear(upGradient, block.up));
}
