// What heads attend to, from the probabilities that the transformer shows: what the native library computes without keeping them.
import { argmax } from '../../core/numbers.ts';
import { visitAttention } from '../../model/transformer/attention-statistics.ts';
import type { Transformer } from '../../model/transformer/transformer.ts';
import type { AttentionReading, AttentionRequest } from '../engine.ts';

/** Masses on the keys of each position's range, and top keys, `[positions, layers, heads]`. @throws {AbortedError}; {EngineError}. */
export async function readAttention(
  transformer: Transformer,
  tokens: readonly number[],
  request: AttentionRequest,
  signal: AbortSignal | undefined,
): Promise<AttentionReading> {
  const { positions, keyRanges } = request;
  const { layers, heads, kvHeads } = transformer.config.shape;
  const group = heads / kvHeads;
  const masses = new Float32Array(positions.length * layers * heads);
  const topKeys = new Int32Array(masses.length);
  await visitAttention(transformer, tokens, {
    positions,
    signal,
    visit({ layer, kvHead, rows }) {
      for (const [member, queries] of rows.entries()) {
        for (const [index, row] of queries.entries()) {
          const at = (index * layers + layer) * heads + kvHead * group + member;
          const [begin, end] = keyRanges[index] as readonly [number, number];
          let mass = 0;
          for (let key = begin; key < Math.min(end, row.length); key++) mass += row[key] as number;
          masses[at] = mass;
          topKeys[at] = argmax(row);
        }
      }
    },
  });
  return { masses, topKeys };
}
