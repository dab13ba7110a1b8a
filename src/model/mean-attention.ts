// The attention between mean queries and keys by position alone: rotated to the positions they would have, scored, normalised.
import type { ModelConfig } from './config.ts';
import { computeRotaryTables } from './rope.ts';

/** Attention that the last of `length` equal queries pays to `length` equal keys under RoPE.
 * @param means queries `[L, H, D]`, keys `[L, G, D]`, before RoPE.  @returns `[L, H, length]` fp32. */
export function attendMeanHeads(
  config: ModelConfig,
  means: { readonly queries: Float32Array; readonly keys: Float32Array },
  length: number,
): Float32Array {
  const { layers, heads, kvHeads, headDim: dim } = config.shape;
  const half = dim / 2;
  const { cos, sin } = computeRotaryTables(config, { start: 0, count: length, maxTokens: length });
  const rotate = (vector: Float32Array, position: number): Float64Array => {
    const turned = new Float64Array(dim);
    for (let pair = 0; pair < half; pair++) {
      const [c, s] = [cos[position * half + pair] as number, sin[position * half + pair] as number];
      const [x, y] = [vector[pair] as number, vector[half + pair] as number];
      turned[pair] = x * c - y * s;
      turned[half + pair] = y * c + x * s;
    }
    return turned;
  };
  const out = new Float32Array(layers * heads * length);
  for (let kvHead = 0; kvHead < layers * kvHeads; kvHead++) {
    const key = means.keys.subarray(kvHead * dim, (kvHead + 1) * dim);
    const keys = Array.from({ length }, (_, position) => rotate(key, position));
    for (let head = (kvHead * heads) / kvHeads; head < ((kvHead + 1) * heads) / kvHeads; head++) {
      const query = rotate(means.queries.subarray(head * dim, (head + 1) * dim), length - 1);
      const scores = keys.map(
        (row) => row.reduce((sum, value, at) => sum + value * (query[at] as number), 0) / Math.sqrt(dim),
      );
      const top = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      out.set(
        weights.map((weight) => weight / total),
        head * length,
      );
    }
  }
  return out;
}
