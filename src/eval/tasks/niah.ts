// One sentence in running text, asked back, for a length × depth grid. Scored by the share of the answer's different words,
// so that the sentence itself scores 100.
import { fillHaystack, makeProseFiller } from '../haystack.ts';
import { scoreWordRecall } from '../metrics/string-match.ts';
import { countAnswerTokens, joinAnswers } from './answer-text.ts';
import { completeSample } from './complete-sample.ts';
import { fitPrompt } from './fit-length.ts';
import { chooseWording, type EvalTask, fillTemplate, makeSampleRandom, type Wording } from './task.ts';
import { ADJECTIVES, drawDistinct, NOUNS, SMALL_ANSWER_WORDS, SMALL_NAMES } from './words.ts';

interface NiahWording {
  readonly before: string;
  readonly needle: string;
  /** ends where the answer begins */
  readonly question: string;
  readonly owners: readonly string[];
}

const WORDINGS: Readonly<Record<Wording, NiahWording>> = {
  plain: {
    before: 'Read the text below; a question about one of its sentences follows.\n\n',
    needle: 'The {owner} always keeps the spare key {value}.',
    question:
      '\n\nQuestion: where does the {owner} always keep the spare key?\nAnswer: The {owner} always keeps the spare key',
    owners: [
      'lighthouse keeper',
      'ferryman',
      'clockmaker',
      'beekeeper',
      'night porter',
      'bell founder',
      'glass blower',
    ],
  },
  'small-vocabulary': {
    before: '',
    needle: 'The special word of {owner} is: {value}.',
    question: '\nWhat is the special word of {owner}? The special word of {owner} is:',
    owners: SMALL_NAMES,
  },
};

const PLACES = ['under', 'behind', 'inside', 'above', 'beside'];
const SMALL_VALUE_WORDS = 4;
const SPARE_TOKENS = 8;

/** Depths of a grid: `count` from 0 to 1, evenly. */
export function listDepths(count: number): number[] {
  return Array.from({ length: count }, (_, index) => (count === 1 ? 0.5 : index / (count - 1)));
}

export const needleInHaystack: EvalTask = {
  name: 'niah',
  describe: 'one sentence in running text, at a depth of the grid; share of its answer words found',
  wordings: ['plain', 'small-vocabulary'],
  score: scoreWordRecall,
  hasDepth: true,
  build(options) {
    const wording = chooseWording(needleInHaystack, options);
    const words = WORDINGS[wording];
    const random = makeSampleRandom('niah', options);
    const running = options.tokenizer.decode(
      options.haystack.take({ tokens: options.lengthTokens, random, split: 'held-out' }),
    );
    const owner = random.pick(words.owners);
    const draw = (): string =>
      wording === 'plain'
        ? `${random.pick(PLACES)} the ${random.pick(ADJECTIVES)} ${random.pick(NOUNS)} by the ${random.pick(NOUNS)}`
        : Array.from({ length: SMALL_VALUE_WORDS }, () => random.pick(SMALL_ANSWER_WORDS)).join(' ');
    const [value] = drawDistinct({ count: 1, draw, isFree: (text) => !running.includes(text) }) as [string];
    const depth = options.depth ?? random.uniform();
    const needle = { text: fillTemplate(words.needle, { owner, value }), depth };
    const pieces = joinAnswers([value], { between: '' });
    const maxNewTokens = countAnswerTokens(options.tokenizer, pieces) + SPARE_TOKENS;
    const question = fillTemplate(words.question, { owner });
    const filler = makeProseFiller(running);
    const fitted = fitPrompt({
      task: 'niah',
      tokenizer: options.tokenizer,
      lengthTokens: options.lengthTokens,
      reservedTokens: maxNewTokens,
      write: (units) => words.before + fillHaystack(filler, units, [needle]) + question,
    });
    return completeSample({
      build: options,
      fitted,
      references: [value],
      maxNewTokens,
      pieces,
      score: needleInHaystack.score,
      meta: { depth, owner },
    });
  },
};
