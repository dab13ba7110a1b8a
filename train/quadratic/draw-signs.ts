// The random ±1 vectors that a sketch looks through (Rademacher): one bit of the generator per value.
import type { Random } from '../../src/core/random.ts';

const WORD_BITS = 32;

/** @param length of all vectors together.  @returns `[length]` fp32, each 1 or −1; same generator, same values. */
export function drawSigns(random: Random, length: number): Float32Array {
  const signs = new Float32Array(length);
  for (let begin = 0; begin < length; begin += WORD_BITS) {
    const bits = random.uniform() * 2 ** WORD_BITS;
    const end = Math.min(length, begin + WORD_BITS);
    for (let index = begin, left = bits >>> 0; index < end; index++, left >>>= 1) signs[index] = left & 1 ? 1 : -1;
  }
  return signs;
}
