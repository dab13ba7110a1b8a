// Linear map y = x·Wᵀ + b of a Hugging Face checkpoint, with frozen weights.
// W is kept in both orders: only products of untransposed 2-D tensors are fast on tfjs' wasm backend, forward and backward.
import * as tf from '@tensorflow/tfjs-core';

/** One frozen linear layer on the tfjs backend. */
export interface Linear {
  /** Wᵀ, `[in, out]` fp32 */
  readonly forward: tf.Tensor2D;
  /** W as stored, `[out, in]` fp32 */
  readonly backward: tf.Tensor2D;
  /** `[out]` fp32 */
  readonly bias: tf.Tensor1D | null;
}

/** y = x·Wᵀ + b.
 * @param input `[n, in]`.  @returns `[n, out]`. */
export function applyLinear(input: tf.Tensor2D, linear: Pick<Linear, 'forward' | 'bias'>): tf.Tensor2D {
  const product: tf.Tensor2D = tf.matMul(input, linear.forward);
  return linear.bias === null ? product : tf.add(product, linear.bias);
}

/** Gradient with respect to the input of `applyLinear`: dX = dY·W.
 * @param outputGradient `[n, out]`.  @returns `[n, in]`. */
export function backLinear(outputGradient: tf.Tensor2D, linear: Pick<Linear, 'backward'>): tf.Tensor2D {
  return tf.matMul(outputGradient, linear.backward);
}

/** A linear map whose output columns belong to KV heads; split there, as slicing activations is slow on wasm. */
export interface HeadsLinear {
  /** Wᵀ of each KV head, `[in, width]` fp32 */
  readonly forward: readonly tf.Tensor2D[];
  /** W as stored, `[G·width, in]` fp32 */
  readonly backward: tf.Tensor2D;
  /** of each KV head, `[width]`; null without bias */
  readonly bias: readonly tf.Tensor1D[] | null;
}

/** The part of y = x·Wᵀ + b that belongs to one KV head.
 * @param input `[n, in]`.  @returns `[n, width]`. */
export function applyHeadLinear(input: tf.Tensor2D, linear: HeadsLinear, kvHead: number): tf.Tensor2D {
  const product: tf.Tensor2D = tf.matMul(input, linear.forward[kvHead]!);
  return linear.bias === null ? product : tf.add(product, linear.bias[kvHead]!);
}

/** The output projection: its input columns belong to KV heads. */
export interface OutputLinear {
  /** Wᵀ, `[G·width, out]` fp32 */
  readonly forward: tf.Tensor2D;
  /** columns of W of each KV head, `[out, width]` fp32 */
  readonly backward: readonly tf.Tensor2D[];
  /** `[out]` */
  readonly bias: tf.Tensor1D | null;
}
