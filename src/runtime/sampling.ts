// Drawing a token from logits: greedy, temperature, top-k, top-p. The definition is that of kernels/cpu/sampling.h, so that a text does not
// depend on the engine beyond the rounding of its logits.

import { argmax } from '../core/numbers.ts';
import { ConfigError } from '../errors/errors.ts';

export interface SamplingOptions {
  /** at least 0; 0 = greedy, the lowest id on a tie; default 0 */
  readonly temperature?: number;
  /** keep the k highest logits, at least 1; 0 = all; default 0 */
  readonly topK?: number;
  /** then keep the shortest prefix whose probability reaches this, above 0 and at most 1; default 1 */
  readonly topP?: number;
  /** integer of 0 to 2^53 − 1; default 0 */
  readonly seed?: number;
}

/** @throws {ConfigError} an option out of its range. */
export function checkSampling(options: SamplingOptions): Required<SamplingOptions> {
  const { temperature = 0, topK = 0, topP = 1, seed = 0 } = options;
  if (!(temperature >= 0) || !Number.isFinite(temperature)) {
    throw new ConfigError(`Expected \`temperature\` to be a finite number of at least 0, got \`${temperature}\``);
  }
  if (!Number.isInteger(topK) || topK < 0) {
    throw new ConfigError(`Expected \`topK\` to be an integer of at least 0, got \`${topK}\``);
  }
  if (!(topP > 0 && topP <= 1)) throw new ConfigError(`Expected \`topP\` to be above 0 and at most 1, got \`${topP}\``);
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new ConfigError(`Expected \`seed\` to be an integer of 0 to 2^53 − 1, got \`${seed}\``);
  }
  return { temperature, topK, topP, seed };
}

/** Draw a token. Candidates are ordered by logit (ties by id) when topK or topP cuts, else by id; weights are exp((logit − max)/temperature);
 * the token is the first whose running sum exceeds u times the whole, u of `drawUniform(seed, length)`.
 * @param logits `[vocab]` finite.  @param options checked.  @param length tokens the session has seen. */
export function sampleToken(logits: Float32Array, options: Required<SamplingOptions>, length: number): number {
  const best = argmax(logits);
  // The native library takes 32-bit floats here.
  const temperature = Math.fround(options.temperature);
  const topP = Math.fround(options.topP);
  if (temperature === 0) return best;
  const largest = logits[best] as number;
  const weigh = (id: number): number => Math.exp(((logits[id] as number) - largest) / temperature);
  let candidates = options.topK > 0 && options.topK < logits.length ? listHighest(logits, options.topK) : null;
  if (topP < 1)
    candidates = cutByProbability(candidates ?? listAll(logits), {
      logits,
      weigh,
      topP,
      isSorted: candidates !== null,
    });
  candidates ??= listAll(logits);
  const weights = Float64Array.from(candidates, weigh);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const target = drawUniform(options.seed, length) * total;
  let running = 0;
  for (let index = 0; index < weights.length; index++) {
    running += weights[index] as number;
    if (running > target) return candidates[index] as number;
  }
  return candidates[weights.length - 1] as number;
}

const MASK = (1n << 64n) - 1n;

/** Uniform in [0, 1) from 53 bits that depend on seed and length alone (splitmix64's output function, twice). */
export function drawUniform(seed: number, length: number): number {
  return Number(mix(mix(BigInt(seed)) ^ BigInt(length)) >> 11n) * 2 ** -53;
}

function mix(value: bigint): bigint {
  let x = (value + 0x9e3779b97f4a7c15n) & MASK;
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return x ^ (x >> 31n);
}

function listAll(logits: Float32Array): Uint32Array {
  return Uint32Array.from(logits, (_, id) => id);
}

/** Highest first, ties by id. */
function sortByLogit(ids: Uint32Array, logits: Float32Array): Uint32Array {
  return ids.sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b);
}

/** The `count` highest, highest first; of equal ones at the end the lower ids. */
function listHighest(logits: Float32Array, count: number): Uint32Array {
  const last = Float32Array.from(logits).sort()[logits.length - count] as number;
  const above = listAll(logits).filter((id) => (logits[id] as number) > last);
  const equal = listAll(logits).filter((id) => logits[id] === last);
  const ids = new Uint32Array(count);
  ids.set(above);
  ids.set(equal.subarray(0, count - above.length), above.length);
  return sortByLogit(ids, logits);
}

/** Weights below e^−12 of the largest rarely count: sorting the others first saves sorting a whole vocabulary at every token. */
const RARE_WEIGHT = Math.exp(-12);

/** The shortest prefix, highest first, whose share of all candidates' weight reaches `topP`; at least one. */
function cutByProbability(
  ids: Uint32Array,
  options: { logits: Float32Array; weigh: (id: number) => number; topP: number; isSorted: boolean },
): Uint32Array {
  const { logits, weigh, topP, isSorted } = options;
  const total = ids.reduce((sum, id) => sum + weigh(id), 0);
  const cut = (sorted: Uint32Array): Uint32Array | null => {
    let sum = 0;
    let kept = 0;
    while (kept < sorted.length && sum < topP * total) sum += weigh(sorted[kept++] as number);
    return sum < topP * total && sorted.length < ids.length ? null : sorted.subarray(0, Math.max(kept, 1));
  };
  if (isSorted) return cut(ids) as Uint32Array;
  const frequent = ids.filter((id) => weigh(id) >= RARE_WEIGHT);
  return cut(sortByLogit(frequent, logits)) ?? (cut(sortByLogit(ids, logits)) as Uint32Array);
}
