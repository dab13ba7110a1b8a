// Lengths of samples: an integer grid from the shortest to the longest, shuffled anew each epoch, or uniform integers.
// Sample i's length follows from the seed and i alone.
import type { Split } from '../src/core/haystack.ts';
import { makeRandom } from '../src/core/random.ts';

export interface LengthSettings {
  readonly minTokens: number;
  readonly maxTokens: number;
  readonly lengthCount: number;
  readonly lengthDraw: 'grid' | 'uniform';
}

/** `count` integers from `minTokens` to `maxTokens` evenly; a single one is `maxTokens`. */
export function listLengths(settings: Omit<LengthSettings, 'lengthDraw'>): number[] {
  const { minTokens, maxTokens, lengthCount } = settings;
  if (lengthCount === 1) return [maxTokens];
  return Array.from({ length: lengthCount }, (_, index) =>
    Math.floor(minTokens + ((maxTokens - minTokens) * index) / (lengthCount - 1)),
  );
}

/** Length in tokens of sample `index`. */
export function drawLength(settings: LengthSettings, place: { seed: number; split: Split; index: number }): number {
  const { seed, split, index } = place;
  if (settings.lengthDraw === 'uniform') {
    const random = makeRandom(seed, 'length', split, index);
    return settings.minTokens + random.integer(settings.maxTokens - settings.minTokens + 1);
  }
  const epoch = Math.floor(index / settings.lengthCount);
  const lengths = makeRandom(seed, 'lengths', split, epoch).shuffle(listLengths(settings));
  return lengths[index % settings.lengthCount] as number;
}

/** Lengths of the held-out samples: from the shortest to `heldOutLengthFactor` times the longest, at most `maxPositions`. */
export function heldOutLengths(
  settings: LengthSettings & { heldOutSamples: number; heldOutLengthFactor: number },
  maxPositions = Number.POSITIVE_INFINITY,
): LengthSettings {
  const longest = Math.min(Math.floor(settings.maxTokens * settings.heldOutLengthFactor), maxPositions);
  return {
    minTokens: Math.min(settings.minTokens, longest),
    maxTokens: longest,
    lengthCount: Math.max(1, settings.heldOutSamples),
    lengthDraw: settings.lengthDraw,
  };
}
