// A string of digits with runs of equal ones in noise, stated twice in a row, in the manner of InfiniteBench's number_string.
import type { Random } from '../../core/random.ts';
import { fillHaystack, makeNoiseFiller } from '../haystack.ts';
import { scoreAllReferences } from '../metrics/string-match.ts';
import { countAnswerTokens, joinAnswers } from './answer-text.ts';
import { completeSample } from './complete-sample.ts';
import { fitPrompt } from './fit-length.ts';
import { NOISE } from './noise.ts';
import { chooseWording, type EvalTask, makeSampleRandom } from './task.ts';

const DIGITS = 10;
/** Different digits a string is made of; the rest repeat their left neighbour. */
const RUNS = 5;
const SPARE_TOKENS = 8;

export const numberString: EvalTask = {
  name: 'number-string',
  describe: 'a string of ten digits with repeated ones in noise, stated twice; found or not',
  wordings: ['plain'],
  score: scoreAllReferences,
  hasDepth: true,
  build(options) {
    chooseWording(numberString, options);
    const random = makeSampleRandom('number-string', options);
    const value = drawDigitRuns(random);
    const depth = options.depth ?? random.uniform();
    const needle = { text: `The string of digits to keep is ${value}. Once more: ${value}.`, depth };
    const pieces = joinAnswers([value], { between: '' });
    const maxNewTokens = countAnswerTokens(options.tokenizer, pieces) + SPARE_TOKENS;
    const filler = makeNoiseFiller(NOISE.plain);
    const fitted = fitPrompt({
      task: 'number-string',
      tokenizer: options.tokenizer,
      lengthTokens: options.lengthTokens,
      reservedTokens: maxNewTokens,
      write: (units) =>
        'Between the sentences below stands a string of digits. Keep it in mind.\n\n' +
        `${fillHaystack(filler, units, [needle])}\n\n` +
        'Question: which string of digits was to be kept?\nAnswer: The string of digits to keep is',
    });
    return completeSample({
      build: options,
      fitted,
      references: [value],
      maxNewTokens,
      pieces,
      score: numberString.score,
      meta: { depth },
    });
  },
};

/** Ten digits in five runs; neighbouring runs differ. */
function drawDigitRuns(random: Random): string {
  const cuts = random.distinct(RUNS - 1, DIGITS - 1).map((cut) => cut + 1);
  const ends = [...cuts, DIGITS].sort((a, b) => a - b);
  let digits = '';
  let last = -1;
  for (const end of ends) {
    let digit = random.integer(last < 0 ? 10 : 9);
    if (last >= 0 && digit >= last) digit++;
    digits += String(digit).repeat(end - digits.length);
    last = digit;
  }
  return digits;
}
