// One chunk of consecutive tokens through all layers of a session: every head attends its cache ‖ the chunk.
// The cache is only read here; the chunk's keys and values are returned, to be stored when the whole chunk is done.
import * as tf from '@tensorflow/tfjs-core';
import { isVisible } from '../../core/shapes.ts';
import { attendHead } from '../../model/transformer/attention-head.ts';
import { embedTokens, pause } from '../../model/transformer/forward.ts';
import { finishLayer } from '../../model/transformer/layer.ts';
import { projectHeads } from '../../model/transformer/projections.ts';
import { applyRmsNorm } from '../../model/transformer/rms-norm.ts';
import { makeRotary } from '../../model/transformer/rotary.ts';
import type { TensorBag } from '../../model/transformer/tensor-bag.ts';
import type { Transformer } from '../../model/transformer/transformer.ts';
import { HIDDEN_SCORE } from '../../model/transformer/visibility.ts';
import type { HeadCache } from './kv-cache.ts';

export interface ChunkInput {
  readonly tokens: readonly number[];
  /** position of the first token; the caches hold what came before it */
  readonly start: number;
  /** `[layers][kvHeads]` */
  readonly caches: readonly (readonly HeadCache[])[];
  /** true: streaming heads see their whole cache and the chunk causally, as the reference does; false: docs/semantics.md, 1 */
  readonly chunked: boolean;
  /** T_max, which fixes the base under dynamic rope scaling */
  readonly maxTokens: number;
  readonly signal?: AbortSignal | undefined;
}

/** Keys and values of a chunk, `[layers][kvHeads]`, each `[n, D]` fp32. */
export type ChunkEntries = { keys: Float32Array; values: Float32Array }[][];

/** @param bag owns the output.
 * @returns the last layer's output `[n, C]` before the final norm, and what the caches are to store.
 * @throws {AbortedError} between layers. */
export async function runChunk(
  transformer: Transformer,
  input: ChunkInput,
  bag: TensorBag,
): Promise<{ output: tf.Tensor2D; entries: ChunkEntries }> {
  const { tokens, start, caches } = input;
  const rotary = bag.compute(() =>
    makeRotary(transformer.config, { start, count: tokens.length, maxTokens: input.maxTokens }),
  );
  const tables = { queries: null, keyRotary: rotary, queryRotary: rotary, windows: null, visibility: [] };
  const masks = bag.compute(() => makeChunkMasks(input));
  const entries: ChunkEntries = [];
  let stream = bag.compute(() => embedTokens(transformer, tokens));
  for (const [index, layerCaches] of caches.entries()) {
    const weights = transformer.layers[index]!;
    const layer = bag.compute(() => {
      const normed = applyRmsNorm(stream, weights.inputNorm, weights.rmsNormEps);
      const heads = projectHeads(normed, weights.projections, tables);
      entries[index] = heads.map(({ key, value }) => ({
        keys: key.dataSync<'float32'>().slice(),
        values: value.dataSync<'float32'>().slice(),
      }));
      const outputs = heads.map(({ query }, kvHead) =>
        tf.tidy(() => {
          const cache = layerCaches[kvHead]!;
          return attendCache({ query, cache, start, fresh: entries[index]![kvHead]!, masks });
        }),
      );
      return finishLayer(stream, outputs, weights).output;
    });
    bag.free(stream);
    stream = layer;
    await pause(input.signal);
  }
  bag.free(rotary.cos, rotary.sin, rotary.halfTurn, ...Object.values(masks));
  return { output: stream, entries };
}

/** Additive masks `[n, cached + n]` by the recentTokens of a head's window; `null` = the whole context, `[n, start + n]`. A plain
 * object, because tf.tidy looks for tensors in no Map. */
type ChunkMasks = Record<string, tf.Tensor2D>;

/** @param part.query `[g, n, D]`.  @returns `[g, n, D]`. */
function attendCache(part: {
  query: tf.Tensor3D;
  cache: HeadCache;
  start: number;
  fresh: ChunkEntries[number][number];
  masks: ChunkMasks;
}): tf.Tensor3D {
  const { query, cache, fresh, masks } = part;
  const [group, count, dim] = query.shape;
  const cached = cache.read(part.start);
  const join = (old: Float32Array, added: Float32Array): tf.Tensor2D => {
    const all = new Float32Array(old.length + added.length);
    all.set(old);
    all.set(added, old.length);
    return tf.tensor2d(all, [all.length / dim, dim]);
  };
  const block = {
    query: tf.reshape(query, [group * count, dim]) as tf.Tensor2D,
    key: join(cached.keys, fresh.keys),
    value: join(cached.values, fresh.values),
  };
  const mask = masks[nameWindow(cache)];
  const mix = { gate: 1, causal: mask as tf.Tensor2D, streaming: null, fullOutput: null };
  return tf.reshape(attendHead(block, mix), [group, count, dim]);
}

function makeChunkMasks(input: ChunkInput): ChunkMasks {
  const { tokens, start, chunked } = input;
  const chunk = tokens.map((_, index) => start + index);
  const fill = (cached: readonly number[], sees: (query: number, key: number) => boolean): tf.Tensor2D => {
    const keys = [...cached, ...chunk];
    const mask = new Float32Array(chunk.length * keys.length);
    chunk.forEach((query, row) => {
      keys.forEach((key, column) => {
        if (!sees(query, key)) mask[row * keys.length + column] = HIDDEN_SCORE;
      });
    });
    return tf.tensor2d(mask, [chunk.length, keys.length]);
  };
  const isCausal = (query: number, key: number): boolean => key <= query;
  const masks: ChunkMasks = {};
  for (const cache of input.caches.flat()) {
    const { window } = cache;
    const name = nameWindow(cache);
    if (masks[name]) continue;
    const sees = chunked || window === null ? isCausal : (q: number, k: number): boolean => isVisible(q, k, window);
    masks[name] = fill(cache.listPositions(start), sees);
  }
  return masks;
}

function nameWindow({ window }: HeadCache): string {
  return String(window?.recentTokens ?? null);
}
