// Long-range samples: windows of running text whose answers are the tokens that only long context predicts. The function that scores the
// tokens is passed in, so that this room needs no model; src/core/long-range.ts decides which tokens count.
import type { HaystackSource, Split } from '../src/core/haystack.ts';
import { isLongRange, type LongRangeThresholds } from '../src/core/long-range.ts';
import { makeRandom } from '../src/core/random.ts';
import type { AnswerRange, Sample, Window } from '../src/core/shapes.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';
import { drawLength, heldOutLengths, type LengthSettings } from './length.ts';
import { takeRunningText } from './running-text.ts';

/** Log-probability of each token from the second on, from the true prefix, with every head full or every head streaming: `[tokens − 1]`. */
export type ScoreTokens = (tokens: readonly number[], attention: 'full' | 'streaming') => Promise<ArrayLike<number>>;

/** A generated sample: the fields of every sample, and what each answer token gains from long context. */
export interface LongRangeSample extends Sample {
  readonly objective: 'long-range';
  /** nats that full attention gives above every head streaming, one for each answer token, in their order */
  readonly gains: readonly number[];
  /** what the gains are measured against: the streaming heads' window, and the model's fingerprint */
  readonly reference: { readonly sink: number; readonly recent: number; readonly model: string | null };
  /** tokens in all */
  readonly length: number;
  readonly seed: number;
  readonly split: Split;
  readonly index: number;
}

/** Where long-range samples come from. */
export interface LongRangeOrigin {
  readonly tokenizer: Tokenizer;
  readonly documents: HaystackSource;
  readonly score: ScoreTokens;
  /** fingerprint of the model that scores */
  readonly model: string | null;
  readonly window: Window;
  readonly thresholds: LongRangeThresholds;
  readonly lengths: LengthSettings & { readonly heldOutSamples: number; readonly heldOutLengthFactor: number };
  readonly seed: number;
  readonly split: Split;
  /** longest sample the model allows; default unbounded */
  readonly maxPositions?: number;
}

/** What was looked at to find samples. */
export interface LongRangeCounts {
  /** tokens that were scored */
  readonly tokens: number;
  readonly longRange: number;
  /** windows without a long-range token */
  readonly skipped: number;
}

/** Windows tried for one sample: running text of which so many hold no long-range token teaches nothing. */
const MAX_WINDOWS = 16;
/** Gains are stored to a tenth of a millinat. */
const GAIN_DECIMALS = 4;

/** The long-range tokens of a text as answer ranges, neighbours in one, and the gain of each token.
 * @param scores log-probabilities of token 1 … T−1, `[T − 1]` each. */
export function findLongRange(
  scores: { readonly full: ArrayLike<number>; readonly streaming: ArrayLike<number> },
  thresholds: LongRangeThresholds,
): { answers: AnswerRange[]; gains: number[] } {
  const answers: AnswerRange[] = [];
  const gains: number[] = [];
  for (let index = 0; index < scores.full.length; index++) {
    const [full, streaming] = [scores.full[index] as number, scores.streaming[index] as number];
    if (!isLongRange(full, streaming, thresholds)) continue;
    const position = index + 1;
    const last = answers.at(-1);
    if (last?.[1] === position) last[1] = position + 1;
    else answers.push([position, position + 1]);
    gains.push(Number((full - streaming).toFixed(GAIN_DECIMALS)));
  }
  return { answers, gains };
}

/** Length in tokens of sample `index`. */
export function drawLongRangeLength(origin: LongRangeOrigin, index: number): number {
  const { lengths, seed, split, maxPositions } = origin;
  return drawLength(split === 'train' ? lengths : heldOutLengths(lengths, maxPositions), { seed, split, index });
}

/** @throws {ConfigError} samples in which every head streaming sees as much as full attention. */
export function checkLongRangeLengths({ lengths, window }: LongRangeOrigin): void {
  const seen = window.sinkTokens + window.recentTokens;
  if (lengths.minTokens > seen + 1) return;
  throw new ConfigError(
    `Expected long-range samples of at least ${seen + 2} tokens, because a streaming head sees ${window.sinkTokens} + ${window.recentTokens} of them, got \`${lengths.minTokens}\`; raise --min-tokens, or lower --sink or --recent.`,
  );
}

/** Sample `index`: the first of its windows that holds a long-range token. A function of seed, split, index, lengths, window, thresholds,
 * documents, tokenizer and scores, and of nothing else. Costs two forward passes per window.
 * @param options.lengthTokens tokens in all; default drawn as the lengths say.
 * @throws {ConfigError} none in sixteen windows; {FormatError} too little text; whatever `score` throws. */
export async function generateLongRange(
  options: LongRangeOrigin & { index: number; lengthTokens?: number },
): Promise<{ sample: LongRangeSample; counts: LongRangeCounts }> {
  const { tokenizer, documents, score, model, window, thresholds, seed, split, index } = options;
  const length = options.lengthTokens ?? drawLongRangeLength(options, index);
  const start = tokenizer.bosTokenId === null ? [] : [tokenizer.bosTokenId];
  for (let attempt = 0; attempt < MAX_WINDOWS; attempt++) {
    const random = makeRandom(seed, 'long-range', split, index, attempt);
    const tokens = takeRunningText(documents, { start, tokens: length, random, split });
    const full = await score(tokens, 'full');
    const { answers, gains } = findLongRange({ full, streaming: await score(tokens, 'streaming') }, thresholds);
    if (answers.length === 0) continue;
    const reference = { sink: window.sinkTokens, recent: window.recentTokens, model };
    return {
      sample: { tokens, answers, objective: 'long-range', gains, reference, length, seed, split, index },
      counts: { tokens: (attempt + 1) * (length - 1), longRange: gains.length, skipped: attempt },
    };
  }
  throw new ConfigError(
    `Expected a window of ${length} tokens with a long-range token among ${MAX_WINDOWS} of ${documents.description}, found none; give other --documents, raise --min-tokens, lower --long-range-gain or --long-range-probability, or take --objective passkey.`,
  );
}
