// Kept gain: the share that a mask keeps of what long context gains, over the tokens of running text that need it. It needs no labels.
// src/core/long-range.ts defines long-range tokens.
import { isLongRange } from '../../core/long-range.ts';
import { makeRandom } from '../../core/random.ts';
import { bootstrapRatio, type Interval } from './confidence.ts';

/** Log-probabilities of one text's tokens, each from the true prefix, natural logarithms, equally long. */
export interface TextLogProbs {
  readonly full: ArrayLike<number>;
  readonly streaming: ArrayLike<number>;
  readonly mask: ArrayLike<number>;
}

/** Fewer texts or tokens make no ratio worth reporting. */
const MIN_TEXTS = 8;
const MIN_TOKENS = 100;

export interface KeptGain {
  /** (mask − streaming) / (full − streaming), sums over all texts; null where `reason` says why */
  readonly keptGain: number | null;
  /** 95 %, bootstrap over texts, seeded by their number */
  readonly interval: Interval | null;
  readonly reason?: string;
  readonly longRangeTokens: number;
  readonly texts: number;
  readonly tokens: number;
  /** mean negative log-probability over all tokens, nats */
  readonly loss: number;
  /** the same under full attention */
  readonly fullLoss: number;
}

/** Kept gain of one mask over texts. */
export function measureKeptGain(texts: readonly TextLogProbs[]): KeptGain {
  const sums = texts.map(sumText);
  const total = (key: keyof TextSums): number => sums.reduce((sum, text) => sum + text[key], 0);
  const tokens = total('tokens');
  const found = { longRangeTokens: total('longRange'), texts: texts.length, tokens };
  const losses = { loss: -total('mask') / tokens, fullLoss: -total('full') / tokens };
  if (texts.length < MIN_TEXTS || found.longRangeTokens < MIN_TOKENS) {
    const reason = `too little to measure: ${found.texts} texts with ${found.longRangeTokens} long-range tokens, of at least ${MIN_TEXTS} and ${MIN_TOKENS}`;
    return { keptGain: null, interval: null, reason, ...found, ...losses };
  }
  const random = makeRandom(0, 'kept gain', texts.length);
  return { keptGain: divide(sums), interval: bootstrapRatio(sums, divide, random), ...found, ...losses };
}

interface TextSums {
  readonly tokens: number;
  readonly longRange: number;
  /** over long-range tokens */
  readonly kept: number;
  readonly gain: number;
  /** log-probabilities of all tokens */
  readonly mask: number;
  readonly full: number;
}

function sumText({ full, streaming, mask }: TextLogProbs): TextSums {
  const sums = { tokens: full.length, longRange: 0, kept: 0, gain: 0, mask: 0, full: 0 };
  for (let index = 0; index < full.length; index++) {
    const [f, s, m] = [full[index], streaming[index], mask[index]] as [number, number, number];
    sums.mask += m;
    sums.full += f;
    if (!isLongRange(f, s)) continue;
    sums.longRange++;
    sums.kept += m - s;
    sums.gain += f - s;
  }
  return sums;
}

function divide(sums: readonly TextSums[]): number {
  return sums.reduce((sum, text) => sum + text.kept, 0) / sums.reduce((sum, text) => sum + text.gain, 0);
}
