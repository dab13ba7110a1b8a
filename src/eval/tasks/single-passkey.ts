// One door code in running text: the plainest recall, in words that training never uses.
import { fillHaystack, makeProseFiller } from '../haystack.ts';
import { scoreAllReferences } from '../metrics/string-match.ts';
import { countAnswerTokens, joinAnswers } from './answer-text.ts';
import { completeSample } from './complete-sample.ts';
import { fitPrompt } from './fit-length.ts';
import { chooseWording, type EvalTask, fillTemplate, makeSampleRandom, type Wording } from './task.ts';
import { drawDistinct, drawNumber, SMALL_ANSWER_WORDS, SMALL_NAMES } from './words.ts';

/** `{owner}` is a name in the small vocabulary, whose model finds words by the key before them. */
interface PasskeyWording {
  readonly before: string;
  readonly needle: string;
  /** ends where the answer begins */
  readonly question: string;
}

const WORDINGS: Readonly<Record<Wording, PasskeyWording>> = {
  plain: {
    before: 'Somewhere in the text below stands the code of a door. Find it and keep it in mind.\n\n',
    needle: 'The code that opens the door is {value}.',
    question: '\n\nQuestion: which code opens the door?\nAnswer: The code that opens the door is',
  },
  'small-vocabulary': {
    before: '',
    needle: 'The magic code of {owner} is: {value}.',
    question: '\nWhat is the magic code of {owner}? The magic code of {owner} is:',
  },
};

const DIGITS = 6;
const SMALL_VALUE_WORDS = 5;
/** Tokens beyond the answer a model may take before it ends its sentence. */
const SPARE_TOKENS = 8;

export const singlePasskey: EvalTask = {
  name: 'single-passkey',
  describe: 'one door code of six digits in running text; found or not',
  wordings: ['plain', 'small-vocabulary'],
  score: scoreAllReferences,
  hasDepth: true,
  build(options) {
    const wording = chooseWording(singlePasskey, options);
    const words = WORDINGS[wording];
    const random = makeSampleRandom('single-passkey', options);
    const running = options.tokenizer.decode(
      options.haystack.take({ tokens: options.lengthTokens, random, split: 'held-out' }),
    );
    const draw = (): string =>
      wording === 'plain'
        ? drawNumber(random, DIGITS)
        : Array.from({ length: SMALL_VALUE_WORDS }, () => random.pick(SMALL_ANSWER_WORDS)).join(' ');
    const [value] = drawDistinct({ count: 1, draw, isFree: (text) => !running.includes(text) }) as [string];
    const depth = options.depth ?? random.uniform();
    const owner = random.pick(SMALL_NAMES);
    const needle = { text: fillTemplate(words.needle, { owner, value }), depth };
    const pieces = joinAnswers([value], { between: '' });
    const maxNewTokens = countAnswerTokens(options.tokenizer, pieces) + SPARE_TOKENS;
    const question = fillTemplate(words.question, { owner });
    const filler = makeProseFiller(running);
    const fitted = fitPrompt({
      task: 'single-passkey',
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
      score: singlePasskey.score,
      meta: { depth },
    });
  },
};
