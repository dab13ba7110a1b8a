// Random ladders whose effects are those of random vectors, so that their matrix has no negative eigenvalue, as measured ones have none.
import type { Random } from '../../src/core/random.ts';
import { type GatesFile, type LadderEffects, makeLadderEffects, tagModel } from '../../src/formats/gates.ts';
import { makeModel } from './gates-fixture.ts';

/** Heads of very different weight; a narrower window of a head adds to what the wider one does.
 * @param common 0 = heads err independently; larger = in one direction together. */
export function makeRandomLadder(
  random: Random,
  options: { heads: number; windows: readonly number[]; sink?: number; tokens: number; rank: number; common?: number },
): LadderEffects {
  const { heads, windows, sink = 4, tokens, rank, common = 0.3 } = options;
  const size = heads * windows.length;
  const shared = Array.from({ length: rank }, () => normal(random));
  const vectors: Float64Array[] = new Array(size);
  for (let head = 0; head < heads; head++) {
    const weight = Math.exp(1.5 * normal(random));
    let sum = new Float64Array(rank);
    for (let rung = windows.length - 1; rung >= 0; rung--) {
      const step = weight * Math.exp(0.5 * normal(random));
      sum = sum.map((value, index) => value + step * (normal(random) + common * (shared[index] as number)));
      vectors[head * windows.length + rung] = sum;
    }
  }
  const matrix = new Float64Array(size * size);
  for (const [row, a] of vectors.entries()) {
    for (const [column, b] of vectors.entries()) {
      let product = 0;
      for (let index = 0; index < rank; index++) product += (a[index] as number) * (b[index] as number);
      matrix[row * size + column] = product / rank;
    }
  }
  return makeLadderEffects({ sink, windows, tokens, matrix });
}

export function makeLadderGates(ladder: LadderEffects, kvHeads: number): GatesFile {
  const layers = ladder.effects.length / ladder.windows.length / kvHeads;
  return {
    schema: 'duo.gates',
    version: 1,
    model: tagModel(makeModel(layers, kvHeads), null),
    gates: Array.from({ length: layers }, () => new Array<number>(kvHeads).fill(0.5)),
    ladder,
    provenance: { tool: 'test', method: 'quadratic', sink: ladder.sink, recent: ladder.windows[0] as number },
  };
}

function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform());
}
