// Seeded random numbers. Every random choice in duo draws from a generator made here and passed as an argument.
import seedrandom from 'seedrandom';

/** Deterministic generator: same seed and label, same numbers on every machine. */
export interface Random {
  /** Uniform in [0, 1), 32 bits. */
  uniform(): number;
  /** Uniform integer in [0, bound). */
  integer(bound: number): number;
  /** One element, uniformly. */
  pick<T>(items: readonly T[]): T;
  /** `count` distinct integers of [0, bound), in random order. */
  distinct(count: number, bound: number): number[];
  /** A shuffled copy (Fisher–Yates). */
  shuffle<T>(items: readonly T[]): T[];
}

/** Make the generator of one purpose. `labels` (for example 'sample', 17) separate purposes that share a seed. */
export function makeRandom(seed: number, ...labels: (string | number)[]): Random {
  const generator = seedrandom([seed, ...labels].join('/'));
  const uniform = (): number => (generator.int32() >>> 0) / 2 ** 32;
  const integer = (bound: number): number => Math.floor(uniform() * bound);
  const random: Random = {
    uniform,
    integer,
    pick<T>(items: readonly T[]): T {
      if (items.length === 0) throw new RangeError('pick: expected at least one item');
      return items[integer(items.length)] as T;
    },
    distinct(count, bound) {
      if (count > bound) throw new RangeError(`distinct: expected count ≤ bound, got ${count} > ${bound}`);
      const swapped = new Map<number, number>();
      return Array.from({ length: count }, (_, index) => {
        const at = index + integer(bound - index);
        const value = swapped.get(at) ?? at;
        swapped.set(at, swapped.get(index) ?? index);
        return value;
      });
    },
    shuffle<T>(items: readonly T[]): T[] {
      const copy = [...items];
      for (let index = copy.length - 1; index > 0; index--) {
        const at = integer(index + 1);
        [copy[index], copy[at]] = [copy[at] as T, copy[index] as T];
      }
      return copy;
    },
  };
  return random;
}
