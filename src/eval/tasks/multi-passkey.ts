// Several labelled word sequences in running text, all asked for in another order than in the text: the training task with
// other labels, other words, other sentences and another order.
import { fillHaystack, makeProseFiller } from '../haystack.ts';
import { scoreAllReferences } from '../metrics/string-match.ts';
import { type AnswerPiece, countAnswerTokens } from './answer-text.ts';
import { completeSample } from './complete-sample.ts';
import { fitPrompt } from './fit-length.ts';
import { chooseWording, type EvalTask, fillTemplate, makeSampleRandom, type Wording } from './task.ts';
import { drawDistinct, SMALL_ANSWER_WORDS, SMALL_NAMES } from './words.ts';

interface MultiWording {
  readonly before: string;
  readonly needle: string;
  readonly question: string;
  /** begins each answer; ends where its value begins */
  readonly cue: string;
  /** between one answer and the next cue */
  readonly joint: string;
  readonly labels: readonly string[];
  readonly alphabet: readonly string[];
  readonly passkeys: number;
  readonly wordsEach: number;
}

const split = (text: string): readonly string[] => text.trim().split(/\s+/);

const WORDINGS: Readonly<Record<Wording, MultiWording>> = {
  plain: {
    before: 'The text below mentions what the guards of several gates want to hear. Keep it in mind.\n\n',
    needle: 'At the {label} gate the guard wants to hear {value}.',
    question: '\n\nQuestion: what do the guards want to hear, gate by gate: {labels}?\nAnswer:',
    cue: '\nAt the {label} gate the guard wants to hear',
    joint: '.',
    labels: split(
      'amber cobalt crimson emerald ivory jade lilac ochre pearl ruby saffron silver turquoise umber violet',
    ),
    alphabet: split(`apple badger cedar dolphin engine falcon ginger hammer island jacket kitten ladder mirror needle
      orange pepper quartz rabbit saddle turnip umbrella velvet walnut yogurt zipper basket`),
    passkeys: 10,
    wordsEach: 8,
  },
  'small-vocabulary': {
    before: '',
    needle: 'The secret code of {label} is: {value}.',
    question: '\nWhat is the secret code of {labels}?',
    cue: ' The secret code of {label} is:',
    joint: '.',
    labels: SMALL_NAMES,
    alphabet: SMALL_ANSWER_WORDS,
    passkeys: 5,
    wordsEach: 5,
  },
};

const SPARE_TOKENS = 8;

export const multiPasskey: EvalTask = {
  name: 'multi-passkey',
  describe: 'ten sequences of eight words in running text, asked in another order; share of sequences found',
  wordings: ['plain', 'small-vocabulary'],
  score: scoreAllReferences,
  hasDepth: false,
  build(options) {
    const words = WORDINGS[chooseWording(multiPasskey, options)];
    const random = makeSampleRandom('multi-passkey', options);
    const running = options.tokenizer.decode(
      options.haystack.take({ tokens: options.lengthTokens, random, split: 'held-out' }),
    );
    const labels = random.distinct(words.passkeys, words.labels.length).map((index) => words.labels[index] as string);
    const values = drawDistinct({
      count: words.passkeys,
      draw: () => Array.from({ length: words.wordsEach }, () => random.pick(words.alphabet)).join(' '),
      isFree: (value) => !running.includes(value),
    });
    const depths = labels.map(() => random.uniform()).sort((a, b) => a - b);
    const needles = labels.map((label, index) => ({
      text: fillTemplate(words.needle, { label, value: values[index] as string }),
      depth: depths[index] as number,
    }));
    const order = random.shuffle(labels.map((_, index) => index));
    const asked = order.map((index) => labels[index] as string);
    const references = order.map((index) => values[index] as string);
    const cues = asked.map((label) => fillTemplate(words.cue, { label }));
    const pieces = references.flatMap((value, index): AnswerPiece[] => {
      const piece = { text: ` ${value}`, isAnswer: true };
      return index === 0 ? [piece] : [{ text: words.joint + cues[index], isAnswer: false }, piece];
    });
    const maxNewTokens = countAnswerTokens(options.tokenizer, pieces) + SPARE_TOKENS;
    const question = fillTemplate(words.question, { labels: asked.join(', ') }) + cues[0];
    const filler = makeProseFiller(running);
    const fitted = fitPrompt({
      task: 'multi-passkey',
      tokenizer: options.tokenizer,
      lengthTokens: options.lengthTokens,
      reservedTokens: maxNewTokens,
      write: (units) => words.before + fillHaystack(filler, units, needles) + question,
    });
    return completeSample({
      build: options,
      fitted,
      references,
      maxNewTokens,
      pieces,
      score: multiPasskey.score,
      meta: { labels, asked, depths },
    });
  },
};
