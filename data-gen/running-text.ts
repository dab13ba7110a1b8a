// Running text of a length, for the tokens that only long context predicts: text that stood in it twice would fake them.
import type { HaystackSource, Split } from '../src/core/haystack.ts';
import type { Random } from '../src/core/random.ts';

/** `tokens` token ids: `start` (what a model wants at the start of a text), then text of which nothing stands in it twice.
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
