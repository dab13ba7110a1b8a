// Gated attention of one layer and its gradient: every KV head, every block of query rows.
// One head and one block at a time, so that memory beyond inputs and outputs is a few matrices of g·BLOCK_ROWS × T.
import * as tf from '@tensorflow/tfjs-core';
import { attendHead, backGate, backHead, type HeadBlock, type HeadMix } from './attention-head.ts';
import type { VisibilityBlock } from './visibility.ts';

/** What attention reads of one KV head, after RoPE; n queries, usually all T. */
export type HeadTensors = {
  /** `[g, n, D]` fp32, divided by √D */
  readonly query: tf.Tensor3D;
  /** `[T, D]` */
  readonly key: tf.Tensor2D;
  /** `[T, D]` */
  readonly value: tf.Tensor2D;
};

/** How the two branches of a layer are mixed. */
export interface AttentionMix {
  readonly visibility: readonly VisibilityBlock[];
  /** window of each KV head's streaming branch; null = the whole context */
  readonly windows: readonly (number | null)[];
  /** one gate per KV head; null = full attention everywhere */
  readonly gates: readonly number[] | null;
  /** constants `[g, n, D]` per KV head that replace the full branch; null = the layer's own */
  readonly fullOutputs: readonly tf.Tensor3D[] | null;
}

/** @returns each KV head's `[g, n, D]`, before o_proj. Time O(H·n·T·D). */
export function mixAttention(heads: readonly HeadTensors[], mix: AttentionMix): tf.Tensor3D[] {
  return heads.map((head, kvHead) => {
    const blocks = mix.visibility.map((block) =>
      tf.tidy(() => splitGroup(attendHead(takeHead(head, block), mixOf(mix, kvHead, block)), block)),
    );
    return blocks.length === 1 ? blocks[0]! : tf.concat(blocks, 1);
  });
}

/** Gradient of `mixAttention` with respect to its gates alone.
 * @param outputGradients each KV head's `[g, n, D]`.  @returns `[G]`. */
export function backAttentionGates(
  heads: readonly HeadTensors[],
  outputGradients: readonly tf.Tensor3D[],
  mix: AttentionMix,
): tf.Tensor1D {
  const gates = heads.map((head, kvHead) => {
    const blocks = mix.visibility.map((block) =>
      tf.tidy(() => {
        const gradient = takeQueries(outputGradients[kvHead]!, block);
        return backGate(takeHead(head, block), mixOf(mix, kvHead, block), gradient);
      }),
    );
    return tf.addN(blocks);
  });
  return tf.stack(gates) as tf.Tensor1D;
}

/** Gradient of `mixAttention` with respect to each head's tensors and the gates `[G]`.
 * @param outputGradients each KV head's `[g, n, D]`. */
export function backAttention(
  heads: readonly HeadTensors[],
  outputGradients: readonly tf.Tensor3D[],
  mix: AttentionMix,
): { heads: HeadTensors[]; gates: tf.Tensor1D } {
  const gradients = heads.map((head, kvHead) =>
    tf.tidy(() => {
      const blocks = mix.visibility.map((block) =>
        tf.tidy(() => {
          const above = takeQueries(outputGradients[kvHead]!, block);
          const gradient = backHead(takeHead(head, block), mixOf(mix, kvHead, block), above);
          // The keys past the block get nothing from it.
          const rest = head.key.shape[0] - block.keys;
          return {
            query: splitGroup(gradient.query, block),
            key: padRows(gradient.key, rest),
            value: padRows(gradient.value, rest),
            gate: gradient.gate,
          };
        }),
      );
      if (blocks.length === 1) return blocks[0]!;
      return {
        query: tf.concat(
          blocks.map((block) => block.query),
          1,
        ),
        key: tf.addN(blocks.map((block) => block.key)),
        value: tf.addN(blocks.map((block) => block.value)),
        gate: tf.addN(blocks.map((block) => block.gate)),
      };
    }),
  );
  return { heads: gradients, gates: tf.stack(gradients.map((gradient) => gradient.gate)) as tf.Tensor1D };
}

function takeHead(head: HeadTensors, block: VisibilityBlock): HeadBlock {
  return { query: takeQueries(head.query, block), key: takeKeys(head.key, block), value: takeKeys(head.value, block) };
}

/** Rows of the block. @param all `[g, n, D]`.  @returns `[g·rows, D]`. */
function takeQueries(all: tf.Tensor3D, block: VisibilityBlock): tf.Tensor2D {
  const [group, count, dim] = all.shape;
  const rows = block.end - block.start;
  const taken = rows === count ? all : tf.slice(all, [0, block.start, 0], [group, rows, dim]);
  return tf.reshape(taken, [group * rows, dim]);
}

/** Keys or values that the block sees. @param all `[T, D]`.  @returns `[keys, D]`. */
function takeKeys(all: tf.Tensor2D, block: VisibilityBlock): tf.Tensor2D {
  const [count, dim] = all.shape;
  return block.keys === count ? all : tf.slice(all, [0, 0], [block.keys, dim]);
}

function padRows(rows: tf.Tensor2D, count: number): tf.Tensor2D {
  if (count === 0) return rows;
  return tf.pad(rows, [
    [0, count],
    [0, 0],
  ]);
}

function mixOf(mix: AttentionMix, kvHead: number, block: VisibilityBlock): HeadMix {
  const { windows, gates, fullOutputs } = mix;
  const window = windows[kvHead]!;
  return {
    gate: gates === null ? 1 : gates[kvHead]!,
    causal: block.causal,
    streaming: window === null ? null : (block.streaming[window] ?? null),
    fullOutput: fullOutputs === null ? null : takeQueries(fullOutputs[kvHead]!, block),
  };
}

/** `[g·rows, D]` to `[g, rows, D]`. */
function splitGroup(rows: tf.Tensor2D, block: VisibilityBlock): tf.Tensor3D {
  return tf.reshape(rows, [-1, block.end - block.start, rows.shape[1]]);
}
