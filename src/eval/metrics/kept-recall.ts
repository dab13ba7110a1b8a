// Kept recall: the answer tokens that a mask predicts right over those that full attention does, on the same samples; likewise for the
// scores of a task's generated answers.
import { makeRandom } from '../../core/random.ts';
import { bootstrapRatio, type Interval } from './confidence.ts';

/** Right answer tokens of one sample, or its score, under full attention and under the mask. */
export interface PairedRecall {
  readonly full: number;
  readonly mask: number;
}

/** Fewer samples make no interval worth a promise. */
const MIN_SAMPLES = 8;

export interface KeptRecall {
  /** Σ mask / Σ full; null where `reason` says why */
  readonly value: number | null;
  /** 95 %, paired bootstrap over samples, seeded by their number */
  readonly interval: Interval | null;
  readonly reason?: string;
}

/** Kept recall of one mask. Same values, same interval.  @param nothing what is said where full attention has none. */
export function measureKeptRecall(
  samples: readonly PairedRecall[],
  nothing = 'full attention itself predicts no answer token right',
): KeptRecall {
  const missing = (reason: string): KeptRecall => ({ value: null, interval: null, reason });
  if (samples.length < MIN_SAMPLES) {
    return missing(`too little to measure: ${samples.length} samples, of at least ${MIN_SAMPLES}`);
  }
  if (sum(samples, 'full') === 0) return missing(nothing);
  const random = makeRandom(0, 'kept recall', samples.length);
  return { value: divide(samples), interval: bootstrapRatio(samples, divide, random) };
}

function divide(samples: readonly PairedRecall[]): number {
  return sum(samples, 'mask') / sum(samples, 'full');
}

function sum(samples: readonly PairedRecall[], key: keyof PairedRecall): number {
  return samples.reduce((total, sample) => total + sample[key], 0);
}
