// What heads look at, for methods that choose heads by it: probabilities of full attention at chosen queries, and the mean
// query and key of each head before RoPE. One layer at a time; nothing here has a gradient.
import * as tf from '@tensorflow/tfjs-core';
import { EngineError } from '../../errors/errors.ts';
import { embedTokens, makeLayerContext, pause, type RunControl } from './forward.ts';
import { runLayer } from './layer.ts';
import { projectHeads } from './projections.ts';
import { applyRmsNorm } from './rms-norm.ts';
import { applyRotary, makeRotary, type Rotary } from './rotary.ts';
import { makeTables, narrowTables, type RunTables } from './run-tables.ts';
import { TensorBag } from './tensor-bag.ts';
import type { Transformer } from './transformer.ts';

/** Attention of one KV head's query group at some queries. */
export interface HeadAttention {
  readonly layer: number;
  readonly kvHead: number;
  /** `[g][queries]`: probabilities over keys 0 … at least the query's own position */
  readonly rows: readonly (readonly Float32Array[])[];
}

/** Run `tokens` under full attention and show each head's probabilities at `positions`, layer by layer, KV head by KV head.
 * @param options.positions ascending, in 0 … T−1.  @param options.visit must not keep the rows.
 * Memory beyond a forward pass: g·positions·T floats.
 * @throws {AbortedError} between layers; {EngineError} a probability is not a number. */
export async function visitAttention(
  transformer: Transformer,
  tokens: ArrayLike<number>,
  options: { positions: readonly number[]; visit: (head: HeadAttention) => void } & RunControl,
): Promise<void> {
  const { positions, visit } = options;
  const { kvHeads } = transformer.config.shape;
  await walkLayers(transformer, tokens, {
    ...options,
    look({ layer, input, tables }) {
      const heads = tf.tidy(() => {
        const narrow = narrowTables(tables, positions);
        return projectLayer(transformer, { layer, input, tables: narrow }).map(({ query, key }) =>
          narrow.visibility.map((block) => {
            const [group, , dim] = query.shape;
            const rows = block.end - block.start;
            const flat = tf.reshape(tf.slice(query, [0, block.start, 0], [group, rows, dim]), [group * rows, dim]);
            const scores = tf.matMul(flat, tf.transpose(tf.slice(key, [0, 0], [block.keys, dim])));
            const masked = tf.add(tf.reshape(scores, [group, rows, block.keys]), block.causal);
            return tf.softmax(masked, -1);
          }),
        );
      });
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        visit({ layer, kvHead, rows: readRows(heads[kvHead] as tf.Tensor[]) });
      }
      tf.dispose(heads);
    },
  });
}

/** Mean query and key of one KV head over all tokens, before RoPE and after QK norm. */
export interface MeanHead {
  readonly layer: number;
  readonly kvHead: number;
  /** `[g, D]`, divided by √D */
  readonly query: Float32Array;
  /** `[D]` */
  readonly key: Float32Array;
}

/** Means over the tokens of one text under full attention. @throws {AbortedError} between layers. */
export async function measureMeanHeads(
  transformer: Transformer,
  tokens: ArrayLike<number>,
  options: RunControl = {},
): Promise<MeanHead[]> {
  const means: MeanHead[] = [];
  await walkLayers(transformer, tokens, {
    ...options,
    look({ layer, input, tables }) {
      const heads = tf.tidy(() => {
        // a rotation by nothing leaves queries and keys as they are before RoPE
        const { cos, sin, halfTurn } = tables.keyRotary;
        const still: Rotary = { cos: tf.onesLike(cos), sin: tf.zerosLike(sin), halfTurn };
        const straight: RunTables = { ...tables, keyRotary: still, queryRotary: still };
        return projectLayer(transformer, { layer, input, tables: straight }).map(({ query, key }) => ({
          query: tf.mean(query, 1),
          key: tf.mean(key, 0),
        }));
      });
      for (const [kvHead, { query, key }] of heads.entries()) {
        means.push({ layer, kvHead, query: query.dataSync<'float32'>(), key: key.dataSync<'float32'>() });
      }
      tf.dispose(heads as unknown as tf.TensorContainer);
    },
  });
  return means;
}

/** Attention that the last of `length` equal queries pays to `length` equal keys, all at their own positions under RoPE.
 * @returns `[g]` rows of `length` probabilities. */
export function attendMeanHead(transformer: Transformer, mean: MeanHead, length: number): Float32Array[] {
  const dim = transformer.config.shape.headDim;
  const group = mean.query.length / dim;
  const flat = tf.tidy(() => {
    const rotary = makeRotary(transformer.config, { start: 0, count: length, maxTokens: length });
    const keys = applyRotary(tf.tile(tf.tensor3d(mean.key, [1, 1, dim]), [1, length, 1]), rotary);
    const queries = applyRotary(tf.tile(tf.tensor3d(mean.query, [group, 1, dim]), [1, length, 1]), rotary);
    const last = tf.reshape(tf.slice(queries, [0, length - 1, 0], [group, 1, dim]), [group, dim]);
    const scores = tf.matMul(last, tf.transpose(tf.reshape(keys, [length, dim])));
    return tf.softmax(scores, -1).dataSync<'float32'>();
  });
  return Array.from({ length: group }, (_, row) => flat.slice(row * length, (row + 1) * length));
}

interface LayerView {
  readonly layer: number;
  /** `[T, C]`, the layer's input */
  readonly input: tf.Tensor2D;
  readonly tables: RunTables;
}

/** Show each layer's input in turn. */
async function walkLayers(
  transformer: Transformer,
  tokens: ArrayLike<number>,
  options: { look: (view: LayerView) => void } & RunControl,
): Promise<void> {
  const bag = new TensorBag();
  try {
    const tables = bag.compute(() => makeTables(transformer.config, tokens.length, null));
    let stream = bag.compute(() => embedTokens(transformer, tokens));
    for (let layer = 0; layer < transformer.layers.length; layer++) {
      const input = stream;
      options.look({ layer, input, tables });
      stream = bag.compute(() => runLayer(input, makeLayerContext(transformer, layer, { tables, gates: null })).output);
      bag.free(input);
      options.onLayer?.();
      await pause(options.signal);
    }
  } finally {
    bag.close();
  }
}

function projectLayer(transformer: Transformer, view: LayerView): ReturnType<typeof projectHeads> {
  const weights = transformer.layers[view.layer]!;
  const normed = applyRmsNorm(view.input, weights.inputNorm, weights.rmsNormEps);
  return projectHeads(normed, weights.projections, view.tables);
}

/** Blocks `[g, rows, keys]` as one list of rows per query head. */
function readRows(blocks: readonly tf.Tensor[]): Float32Array[][] {
  const group = blocks[0]!.shape[0]!;
  const heads: Float32Array[][] = Array.from({ length: group }, () => []);
  for (const block of blocks) {
    const [, rows, keys] = block.shape as [number, number, number];
    const flat = block.dataSync<'float32'>();
    for (let index = 0; index < group * rows; index++) {
      const row = flat.slice(index * keys, (index + 1) * keys);
      if (Number.isNaN(row[0])) throw new EngineError("Expected finite attention, got NaN; check the model's weights");
      heads[Math.floor(index / rows)]!.push(row);
    }
  }
  return heads;
}
