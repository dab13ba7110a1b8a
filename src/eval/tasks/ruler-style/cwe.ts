// Common words with RULER's parameters: a numbered list in which 10 words occur 30 times and the others 3 times (6 times and
// once below 4096 tokens); the 10 are asked for, numbered as the list is. A worked example of the same form with 40 words (10 and 3 times) precedes it.
import type { Random } from '../../../core/random.ts';
import { scoreAllReferences } from '../../metrics/string-match.ts';
import { countAnswerTokens } from '../answer-text.ts';
import { completeSample } from '../complete-sample.ts';
import { fitPrompt } from '../fit-length.ts';
import { chooseWording, type EvalTask, makeSampleRandom } from '../task.ts';
import { ADJECTIVES, drawDistinct, NOUNS } from '../words.ts';

export const COMMON_WORDS = 10;
const SHORT_TOKENS = 4096;
/** Single words, drawn first; the shorter ones, of a token or two, are asked for and used in the example. */
const WORDS = [...ADJECTIVES, ...NOUNS];
const SHORT_WORDS = WORDS.filter((word) => word.length <= 6);
/** RULER's tokens_to_generate. */
const MAX_NEW_TOKENS = 120;

/** How often common and other words occur in a list, and how many words its example has. */
export function chooseRepeats(lengthTokens: number): {
  readonly common: number;
  readonly other: number;
  readonly exampleWords: number;
  readonly exampleCommon: number;
  readonly exampleOther: number;
} {
  return lengthTokens < SHORT_TOKENS
    ? { common: 6, other: 1, exampleWords: 20, exampleCommon: 3, exampleOther: 1 }
    : { common: 30, other: 3, exampleWords: 40, exampleCommon: 10, exampleOther: 3 };
}

export const commonWords: EvalTask = {
  name: 'cwe',
  describe: 'ruler-style: the 10 words that occur most often in a long numbered list; share of them found',
  wordings: ['plain'],
  score: scoreAllReferences,
  hasDepth: false,
  build(options) {
    chooseWording(commonWords, options);
    const random = makeSampleRandom('cwe', options);
    const repeats = chooseRepeats(options.lengthTokens);
    const short = random.shuffle(SHORT_WORDS);
    const example = short.slice(0, repeats.exampleWords);
    const common = short.slice(repeats.exampleWords, repeats.exampleWords + COMMON_WORDS);
    const others = makeOtherWords(random, [...example, ...common], common);
    const exampleList = writeList(random, [
      [example.slice(0, COMMON_WORDS), repeats.exampleCommon],
      [example.slice(COMMON_WORDS), repeats.exampleOther],
    ]);
    const worked = `${writeBlock(exampleList)} ${numberEntries(example.slice(0, COMMON_WORDS))}`;
    const order = makeOrder(random);
    const maxNewTokens = Math.max(
      MAX_NEW_TOKENS,
      countAnswerTokens(options.tokenizer, [{ text: ` ${numberEntries(common)}`, isAnswer: true }]) + 4,
    );
    const fitted = fitPrompt({
      task: 'cwe',
      tokenizer: options.tokenizer,
      lengthTokens: options.lengthTokens,
      reservedTokens: maxNewTokens,
      write: (units) => {
        const entries = [
          ...common.flatMap((word) => new Array<string>(repeats.common).fill(word)),
          ...others(units).flatMap((word) => new Array<string>(repeats.other).fill(word)),
        ];
        return `${worked}\n\n${writeBlock(numberEntries(order(entries)))}`;
      },
    });
    return completeSample({
      build: options,
      fitted,
      references: common,
      maxNewTokens,
      pieces: null,
      score: commonWords.score,
      meta: { repeats: [repeats.common, repeats.other] },
    });
  },
};

/** The first n of the words that are not asked for: single words in random order, then adjective and noun in one, then with two
 * adjectives, each once. None has an answer in it, where string matching would count the answer. */
function makeOtherWords(
  random: Random,
  used: readonly string[],
  answers: readonly string[],
): (count: number) => readonly string[] {
  const taken = new Set(used);
  const isFree = (word: string): boolean => !taken.has(word) && !answers.some((answer) => word.includes(answer));
  const others = random.shuffle(WORDS.filter(isFree));
  for (const word of others) taken.add(word);
  const drawWord = (): string => {
    const isCrowded = taken.size > (ADJECTIVES.length * NOUNS.length) / 2;
    return (isCrowded ? random.pick(ADJECTIVES) : '') + random.pick(ADJECTIVES) + random.pick(NOUNS);
  };
  return (count) => {
    while (others.length < count) {
      const [word] = drawDistinct({ count: 1, draw: drawWord, isFree }) as [string];
      taken.add(word);
      others.push(word);
    }
    return others.slice(0, count);
  };
}

/** A shuffle that grows: entry i of the list goes to a place that its own random key decides, whatever the number of entries. */
function makeOrder(random: Random): (entries: readonly string[]) => string[] {
  const keys: number[] = [];
  return (entries) => {
    while (keys.length < entries.length) keys.push(random.uniform());
    return entries
      .map((text, index) => ({ text, key: keys[index] as number, index }))
      .sort((a, b) => a.key - b.key || a.index - b.index)
      .map((entry) => entry.text);
  };
}

function writeList(random: Random, groups: readonly (readonly [words: readonly string[], times: number])[]): string {
  const entries = groups.flatMap(([words, times]) => words.flatMap((word) => new Array<string>(times).fill(word)));
  return numberEntries(random.shuffle(entries));
}

function numberEntries(entries: readonly string[]): string {
  return entries.map((word, index) => `${index + 1}. ${word}`).join(' ');
}

function writeBlock(list: string): string {
  return (
    `The numbered list below repeats words. Find the ${COMMON_WORDS} that stand in it most often.\n\n${list}\n\n` +
    `Question: which ${COMMON_WORDS} words are the most frequent in the list?\nAnswer: The most frequent words are`
  );
}
