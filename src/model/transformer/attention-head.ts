// Attention of one KV head's query group over one block of query rows: out = α·full + (1−α)·streaming (docs/semantics.md, 2).
// Both branches are softmaxes of the same scores under two masks. Every product is an untransposed 2-D one, the only form that
// tfjs' wasm backend computes quickly: a factor is transposed beforehand, never by matMul's own flags (7 times slower at T = 256).
import * as tf from '@tensorflow/tfjs-core';

/** Queries, keys and values of one KV head; g = H/G. */
export type HeadBlock = {
  /** `[g·rows, D]` fp32, head-major, after RoPE, divided by √D */
  readonly query: tf.Tensor2D;
  /** `[keys, D]` */
  readonly key: tf.Tensor2D;
  /** `[keys, D]` */
  readonly value: tf.Tensor2D;
};

export type HeadMix = {
  /** α, 0..1 */
  readonly gate: number;
  /** `[rows, keys]`, added to the scores */
  readonly causal: tf.Tensor2D;
  /** `[rows, keys]`; null where it equals `causal` */
  readonly streaming: tf.Tensor2D | null;
  /** constant `[g·rows, D]` that replaces the full branch; null = the student's own */
  readonly fullOutput: tf.Tensor2D | null;
};

export type HeadGradient = { query: tf.Tensor2D; key: tf.Tensor2D; value: tf.Tensor2D };

/** One branch of the mix, with its weight in it. */
type Branch = { share: number; probabilities: tf.Tensor2D; output: tf.Tensor2D };

/** @returns `[g·rows, D]`. With α = 1 exactly the full branch, with α = 0 exactly the streaming one. */
export function attendHead(head: HeadBlock, mix: HeadMix): tf.Tensor2D {
  const { gate, causal, fullOutput } = mix;
  const streaming = mix.streaming ?? causal;
  if (fullOutput !== null) {
    if (gate === 1) return tf.clone(fullOutput);
    const streamed: tf.Tensor2D = tf.matMul(maskedSoftmax(computeScores(head), streaming), head.value);
    return gate === 0 ? streamed : tf.add(tf.mul(fullOutput, gate), tf.mul(streamed, 1 - gate));
  }
  const scores = computeScores(head);
  if (gate === 1 || streaming === causal) return tf.matMul(maskedSoftmax(scores, causal), head.value);
  const streamed = maskedSoftmax(scores, streaming);
  if (gate === 0) return tf.matMul(streamed, head.value);
  const full = maskedSoftmax(scores, causal);
  const mixed: tf.Tensor2D = tf.add(tf.mul(full, gate), tf.mul(streamed, 1 - gate));
  return tf.matMul(mixed, head.value);
}

/** d loss / d α = ⟨dOut, full − streaming⟩.
 * @param outputGradient `[g·rows, D]`.  @returns scalar. */
export function backGate(head: HeadBlock, mix: HeadMix, outputGradient: tf.Tensor2D): tf.Scalar {
  return gateGradient(computeBranches(head, mix), outputGradient);
}

/** Gradients with respect to queries, keys, values and α.
 * @param outputGradient `[g·rows, D]`. */
export function backHead(
  head: HeadBlock,
  mix: HeadMix,
  outputGradient: tf.Tensor2D,
): HeadGradient & { gate: tf.Scalar } {
  const branches = computeBranches(head, mix);
  const gate = gateGradient(branches, outputGradient);
  const live = [branches.streaming, ...(branches.full === null ? [] : [branches.full])].filter((b) => b.share !== 0);
  if (live.length === 0) {
    return { query: tf.zerosLike(head.query), key: tf.zerosLike(head.key), value: tf.zerosLike(head.value), gate };
  }
  // dS = Σ share·P ⊙ (dP − rowsum(dOut ⊙ P·V)), where dP = dOut·Vᵀ is the same for both branches.
  const mixed = tf.addN(
    live.map(({ share, probabilities }) => (share === 1 ? probabilities : tf.mul(probabilities, share))),
  );
  const centred = tf.addN(
    live.map(({ share, probabilities, output }) =>
      tf.mul(probabilities, tf.mul(tf.sum(tf.mul(outputGradient, output), 1, true), share)),
    ),
  );
  const probabilityGradient = tf.matMul(outputGradient, tf.transpose(head.value));
  const scores = tf.sub(tf.mul(mixed, probabilityGradient), centred) as tf.Tensor2D;
  return {
    query: tf.matMul(scores, head.key),
    key: tf.matMul(tf.transpose(scores), head.query),
    value: tf.matMul(tf.transpose(mixed), outputGradient),
    gate,
  };
}

/** Both branches; where the masks coincide, or the full branch is a constant, only the streaming one carries a gradient. */
function computeBranches(
  head: HeadBlock,
  mix: HeadMix,
): { streaming: Branch; full: Branch | null; fullOutput: tf.Tensor2D } {
  const scores = computeScores(head);
  const compute = (mask: tf.Tensor2D, share: number): Branch => {
    const probabilities = maskedSoftmax(scores, mask);
    return { share, probabilities, output: tf.matMul(probabilities, head.value) };
  };
  if (mix.fullOutput !== null) {
    const streaming = compute(mix.streaming ?? mix.causal, 1 - mix.gate);
    return { streaming, full: null, fullOutput: mix.fullOutput };
  }
  if (mix.streaming === null) {
    const both = compute(mix.causal, 1);
    return { streaming: both, full: null, fullOutput: both.output };
  }
  const full = compute(mix.causal, mix.gate);
  return { streaming: compute(mix.streaming, 1 - mix.gate), full, fullOutput: full.output };
}

function gateGradient(
  branches: { streaming: Branch; fullOutput: tf.Tensor2D },
  outputGradient: tf.Tensor2D,
): tf.Scalar {
  return tf.sum(tf.mul(outputGradient, tf.sub(branches.fullOutput, branches.streaming.output)));
}

/** `[g·rows, keys]` */
function computeScores(head: HeadBlock): tf.Tensor2D {
  return tf.matMul(head.query, tf.transpose(head.key));
}

/** Softmax over the visible keys; hidden ones get exactly 0.
 * @param scores `[g·rows, keys]`.  @param mask `[rows, keys]`. */
function maskedSoftmax(scores: tf.Tensor2D, mask: tf.Tensor2D): tf.Tensor2D {
  const [rows, keys] = mask.shape;
  const masked = tf.add(tf.reshape(scores, [-1, rows, keys]), mask);
  return tf.softmax(tf.reshape(masked, scores.shape));
}
