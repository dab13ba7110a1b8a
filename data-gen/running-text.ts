// Running text of a length, for the tokens that only long context predicts: text that occurred twice would produce false ones.
import type { HaystackSource, Split } from '../src/core/haystack.ts';
import type { Random } from '../src/core/random.ts';

/** `tokens` token ids: `start` (what a model wants at the start of a text), then text in which nothing is repeated.
 * @throws {FormatError} too little text. */
export function takeRunningText(
  documents: HaystackSource,
  options: {
    readonly start: readonly number[];
    readonly tokens: number;
    readonly random: Random;
    readonly split: Split;
  },
): number[] {
  const { start, tokens, random, split } = options;
  const text = documents.take({ tokens: tokens - start.length, random, split, repeats: false });
  return [...start, ...text].slice(0, tokens);
}
