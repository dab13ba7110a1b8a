// Gated attention of one layer and its gradient: every KV head, every block of query rows.
// One head and one block at a time, so that memory beyond inputs and outputs is a few matrices of g·BLOCK_ROWS × T.
import * as tf from '@tensorflow/tfjs-core';
import { attendHead, backGate, backHead, type HeadBlock, type HeadMix } from './attention-head.ts';
import type { VisibilityBlock } from './visibility.ts';

/** What attention reads, after RoPE. */
export type HeadTensors = {
  /** `[H, T, D]` fp32, divided by √D */
  readonly query: tf.Tensor3D;
  /** `[G, T, D]` */
  readonly key: tf.Tensor3D;
  /** `[G, T, D]` */
  readonly value: tf.Tensor3D;
};

/** How the two branches of a layer are mixed. */
export interface AttentionMix {
  readonly visibility: readonly VisibilityBlock[];
  /** one gate per KV head; null = full attention everywhere */
  readonly gates: readonly number[] | null;
  /** constant `[H, T, D]` that stands for the full branch; null = the layer's own */
  readonly fullOutput: tf.Tensor3D | null;
}

/** @returns `[H, T, D]`, before o_proj. Time O(H·T²·D). */
export function mixAttention(tensors: HeadTensors, mix: AttentionMix): tf.Tensor3D {
  const kvHeads = tensors.key.shape[0];
  const heads = Array.from({ length: kvHeads }, (_, kvHead) =>
    joinRows(
      mix.visibility.map((block) =>
        tf.tidy(() => {
          const part = { tensors, mix, block, kvHead };
          return splitGroup(attendHead(sliceHead(part), headMix(part)), block);
        }),
      ),
    ),
  );
  return heads.length === 1 ? (heads[0] as tf.Tensor3D) : tf.concat(heads, 0);
}

/** Gradient of `mixAttention` with respect to its gates alone.
 * @param outputGradient `[H, T, D]`.  @returns `[G]`. */
export function backAttentionGates(tensors: HeadTensors, outputGradient: tf.Tensor3D, mix: AttentionMix): tf.Tensor1D {
  const gates = Array.from({ length: tensors.key.shape[0] }, (_, kvHead) =>
    tf.addN(
      mix.visibility.map((block) =>
        tf.tidy(() => {
          const part = { tensors, mix, block, kvHead };
          return backGate(sliceHead(part), headMix(part), sliceQueries(outputGradient, part));
        }),
      ),
    ),
  );
  return tf.stack(gates) as tf.Tensor1D;
}

/** Gradient of `mixAttention` with respect to queries, keys, values (shapes as in `tensors`) and gates `[G]`.
 * @param outputGradient `[H, T, D]`. */
export function backAttention(
  tensors: HeadTensors,
  outputGradient: tf.Tensor3D,
  mix: AttentionMix,
): HeadTensors & { gates: tf.Tensor1D } {
  const tokens = tensors.key.shape[1];
  const heads = Array.from({ length: tensors.key.shape[0] }, (_, kvHead) =>
    tf.tidy(() => {
      const blocks = mix.visibility.map((block) =>
        tf.tidy(() => {
          const part = { tensors, mix, block, kvHead };
          const gradient = backHead(sliceHead(part), headMix(part), sliceQueries(outputGradient, part));
          // The keys past the block get nothing from it.
          const rest: [[number, number], [number, number]] = [
            [0, tokens - block.keys],
            [0, 0],
          ];
          return {
            query: splitGroup(gradient.query, block),
            key: tf.pad(gradient.key, rest),
            value: tf.pad(gradient.value, rest),
            gate: gradient.gate,
          };
        }),
      );
      return {
        query: joinRows(blocks.map((block) => block.query)),
        key: tf.addN(blocks.map((block) => block.key)),
        value: tf.addN(blocks.map((block) => block.value)),
        gate: tf.addN(blocks.map((block) => block.gate)),
      };
    }),
  );
  return {
    query: tf.concat(
      heads.map((head) => head.query),
      0,
    ),
    key: tf.stack(heads.map((head) => head.key)) as tf.Tensor3D,
    value: tf.stack(heads.map((head) => head.value)) as tf.Tensor3D,
    gates: tf.stack(heads.map((head) => head.gate)) as tf.Tensor1D,
  };
}

/** One KV head and one row block of a layer. */
interface HeadPart {
  readonly tensors: HeadTensors;
  readonly mix: AttentionMix;
  readonly block: VisibilityBlock;
  readonly kvHead: number;
}

function sliceHead(part: HeadPart): HeadBlock {
  const { key, value } = part.tensors;
  const dim = key.shape[2];
  const sliceKeys = (all: tf.Tensor3D): tf.Tensor2D =>
    tf.reshape(tf.slice(all, [part.kvHead, 0, 0], [1, part.block.keys, dim]), [part.block.keys, dim]);
  return { query: sliceQueries(part.tensors.query, part), key: sliceKeys(key), value: sliceKeys(value) };
}

/** Rows of the block, of the KV head's query group. @param all `[H, T, D]`.  @returns `[g·rows, D]`. */
function sliceQueries(all: tf.Tensor3D, part: HeadPart): tf.Tensor2D {
  const [heads, , dim] = all.shape;
  const group = heads / part.tensors.key.shape[0];
  const { start, end } = part.block;
  return tf.reshape(tf.slice(all, [part.kvHead * group, start, 0], [group, end - start, dim]), [-1, dim]);
}

function headMix(part: HeadPart): HeadMix {
  const { gates, fullOutput } = part.mix;
  return {
    gate: gates === null ? 1 : (gates[part.kvHead] as number),
    causal: part.block.causal,
    streaming: part.block.streaming,
    fullOutput: fullOutput === null ? null : sliceQueries(fullOutput, part),
  };
}

/** `[g·rows, D]` to `[g, rows, D]`. */
function splitGroup(rows: tf.Tensor2D, block: VisibilityBlock): tf.Tensor3D {
  return tf.reshape(rows, [-1, block.end - block.start, rows.shape[1]]);
}

function joinRows(blocks: tf.Tensor3D[]): tf.Tensor3D {
  return blocks.length === 1 ? (blocks[0] as tf.Tensor3D) : tf.concat(blocks, 1);
}
