// Sums over samples, those of the long-range objective apart from all others, because the two may be measured in different units and are of
// different size anyway: their means are scaled to the same trace, and then count alike.

/** Summed values of samples; `long` those of long-range ones, null until there is one. */
export interface BalancedSums {
  readonly samples: number;
  readonly sums: Float64Array;
  readonly long: { readonly samples: number; readonly sums: Float64Array } | null;
}

/** @param length values of each sample. */
export function startSums(length: number): BalancedSums {
  return { samples: 0, sums: new Float64Array(length), long: null };
}

/** Samples of both kinds. */
export function countSamples({ samples, long }: BalancedSums): number {
  return samples + (long?.samples ?? 0);
}

/** The sums with one more sample. */
export function addValues(before: BalancedSums, values: Float64Array, isLongRange: boolean): BalancedSums {
  const add = (sums: Float64Array): Float64Array => sums.map((sum, index) => sum + (values[index] as number));
  if (!isLongRange) return { ...before, samples: before.samples + 1, sums: add(before.sums) };
  const long = before.long ?? { samples: 0, sums: new Float64Array(values.length) };
  return { ...before, long: { samples: long.samples + 1, sums: add(long.sums) } };
}

/** The same with each part of the sums replaced. */
export function mapSums(before: BalancedSums, change: (sums: Float64Array) => Float64Array): BalancedSums {
  const { samples, sums, long } = before;
  return { samples, sums: change(sums), long: long && { samples: long.samples, sums: change(long.sums) } };
}

/** What the mean of long-range samples is multiplied by so that its trace is that of the others; 1 where there is one kind alone.
 * @param diagonal places of the matrix's diagonal among the sums. */
export function findBalance({ samples, sums, long }: BalancedSums, diagonal: Iterable<number>): number {
  if (long === null || samples === 0) return 1;
  let own = 0;
  let other = 0;
  for (const place of diagonal) {
    own += (sums[place] as number) / samples;
    other += (long.sums[place] as number) / long.samples;
  }
  return own > 0 && other > 0 ? own / other : 1;
}

/** Means over samples; of both kinds, half the sum of the others' mean and `balance` times the long-range ones'. */
export function toMeans({ samples, sums, long }: BalancedSums, balance: number): Float64Array {
  if (long === null) return sums.map((sum) => sum / samples);
  if (samples === 0) return long.sums.map((sum) => sum / long.samples);
  return sums.map((sum, index) => (sum / samples + (balance * (long.sums[index] as number)) / long.samples) / 2);
}
