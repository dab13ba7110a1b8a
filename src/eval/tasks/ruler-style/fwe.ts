// Frequent words with RULER's parameters: coded words of 6 letters, frequencies by a zeta law of exponent 2, a vocabulary of
// one word for 50 tokens; the most frequent entry is noise (`...`), the three after it are asked for.
import { makeRandom } from '../../../core/random.ts';
import { scoreAllReferences } from '../../metrics/string-match.ts';
import { countAnswerTokens, joinAnswers } from '../answer-text.ts';
import { completeSample } from '../complete-sample.ts';
import { fitPrompt } from '../fit-length.ts';
import { chooseWording, type EvalTask, makeSampleRandom } from '../task.ts';
import { drawDistinct } from '../words.ts';

/** ζ(2), the sum of 1/k² */
const ZETA_2 = Math.PI ** 2 / 6;
const NOISE_ENTRY = '...';
/** RULER's tokens_to_generate. */
const MAX_NEW_TOKENS = 50;
/** From here on the first four frequencies differ: ⌊n/9ζ⌋ = 2 > ⌊n/16ζ⌋ = 1. */
const MIN_ENTRIES = 30;

export const frequentWords: EvalTask = {
  name: 'fwe',
  describe: 'ruler-style: the three most frequent coded words of a text with zeta-distributed frequencies; share found',
  wordings: ['plain'],
  score: scoreAllReferences,
  hasDepth: false,
  build(options) {
    chooseWording(frequentWords, options);
    const random = makeSampleRandom('fwe', options);
    const vocabulary = Math.max(5, Math.floor(options.lengthTokens / 50));
    const drawWord = (): string =>
      Array.from({ length: 6 }, () => String.fromCharCode(97 + random.integer(26))).join('');
    const words = [NOISE_ENTRY, ...drawDistinct({ count: vocabulary - 1, draw: drawWord })];
    const references = words.slice(1, 4);
    const order = random.integer(2 ** 31);
    const pieces = joinAnswers(references, { between: ',', last: ', and' });
    const maxNewTokens = Math.max(MAX_NEW_TOKENS, countAnswerTokens(options.tokenizer, pieces) + 4);
    const fitted = fitPrompt({
      task: 'fwe',
      tokenizer: options.tokenizer,
      lengthTokens: options.lengthTokens,
      reservedTokens: maxNewTokens,
      minUnits: MIN_ENTRIES,
      write: (units) => {
        const entries = words.flatMap((word, rank) => new Array<string>(countEntries(units, rank)).fill(word));
        return writeBlock(shuffleBy(order, entries).join(' '));
      },
    });
    return completeSample({
      build: options,
      fitted,
      references,
      maxNewTokens,
      pieces,
      score: frequentWords.score,
      meta: { vocabulary },
    });
  },
};

/** Entries of the word of rank 0, 1, … among `units`: ⌊units / ((rank + 1)² ζ(2))⌋. */
export function countEntries(units: number, rank: number): number {
  return Math.floor(units / ((rank + 1) ** 2 * ZETA_2));
}

function shuffleBy(seed: number, entries: readonly string[]): string[] {
  return makeRandom(seed, 'fwe-order').shuffle(entries);
}

function writeBlock(text: string): string {
  return (
    `The text below is in code. Count its coded words; the dots \`${NOISE_ENTRY}\` mean nothing.\n\n${text}\n\n` +
    'Question: which three coded words stand in the text most often?\nAnswer: The three most frequent words are'
  );
}
