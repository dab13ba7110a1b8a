// RMSNorm over the last axis, and its gradient with respect to the input (the weight is frozen).
import * as tf from '@tensorflow/tfjs-core';

/** y = x / sqrt(mean(x²) + eps) · w.
 * @param input `[n, width]` fp32.  @param weight `[width]`.  @returns `[n, width]`. */
export function applyRmsNorm(input: tf.Tensor2D, weight: tf.Tensor1D, eps: number): tf.Tensor2D {
  return tf.mul(tf.mul(input, inverseRms(input, eps)), weight);
}

/** Gradient with respect to `input`: dx = r·(w·dy) − x·r³·mean(x·w·dy), r = 1 / sqrt(mean(x²) + eps).
 * @param outputGradient `[n, width]`.  @returns `[n, width]`. */
export function backRmsNorm(
  input: tf.Tensor2D,
  outputGradient: tf.Tensor2D,
  options: { weight: tf.Tensor1D; eps: number },
): tf.Tensor2D {
  const inverse = inverseRms(input, options.eps);
  const normed = tf.mul(input, inverse);
  const weighted = tf.mul(outputGradient, options.weight);
  const along = tf.mean(tf.mul(normed, weighted), 1, true);
  return tf.mul(tf.sub(weighted, tf.mul(normed, along)), inverse);
}

/** `[n, 1]` */
function inverseRms(input: tf.Tensor2D, eps: number): tf.Tensor2D {
  return tf.rsqrt(tf.add(tf.mean(tf.square(input), 1, true), eps));
}
