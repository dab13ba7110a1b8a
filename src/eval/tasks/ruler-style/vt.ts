// Variable tracking with RULER's parameters: one chain of assignments of 4 hops in noise; all 5 variables that end up with
// the value are asked for. A short worked example precedes the text.
import type { Random } from '../../../core/random.ts';
import { fillHaystack, makeNoiseFiller, type PlacedNeedle } from '../../haystack.ts';
import { scoreAllReferences } from '../../metrics/string-match.ts';
import { countAnswerTokens, joinAnswers } from '../answer-text.ts';
import { completeSample } from '../complete-sample.ts';
import { fitPrompt } from '../fit-length.ts';
import { NOISE } from '../noise.ts';
import { chooseWording, type EvalTask, makeSampleRandom } from '../task.ts';
import { drawDistinct, drawNumber } from '../words.ts';

const HOPS = 4;
/** lines of noise in the worked example */
const EXAMPLE_UNITS = 3;
/** RULER's tokens_to_generate. */
const MAX_NEW_TOKENS = 30;

interface Chain {
  readonly value: string;
  readonly names: readonly string[];
  readonly statements: readonly PlacedNeedle[];
}

export const variableTracking: EvalTask = {
  name: 'vt',
  describe: 'ruler-style: one chain of 4 assignments in noise, all 5 variables asked; share of variables found',
  wordings: ['plain'],
  score: scoreAllReferences,
  hasDepth: false,
  build(options) {
    chooseWording(variableTracking, options);
    const random = makeSampleRandom('vt', options);
    const used = new Set<string>();
    const filler = makeNoiseFiller(NOISE.plain);
    const example = drawChain(random, used);
    const chain = drawChain(random, used);
    const worked = `${writeBlock(fillHaystack(filler, EXAMPLE_UNITS, example.statements), example.value)} ${example.names.join(', ')}`;
    const pieces = joinAnswers(chain.names, { between: ',' });
    const maxNewTokens = Math.max(MAX_NEW_TOKENS, countAnswerTokens(options.tokenizer, pieces) + 4);
    const fitted = fitPrompt({
      task: 'vt',
      tokenizer: options.tokenizer,
      lengthTokens: options.lengthTokens,
      reservedTokens: maxNewTokens,
      write: (units) => `${worked}\n\n${writeBlock(fillHaystack(filler, units, chain.statements), chain.value)}`,
    });
    return completeSample({
      build: options,
      fitted,
      references: chain.names,
      maxNewTokens,
      pieces,
      score: variableTracking.score,
      meta: { value: chain.value, depths: chain.statements.map((statement) => statement.depth) },
    });
  },
};

/** Five letters, different from all drawn before; the statements are placed in order at random depths. */
function drawChain(random: Random, used: Set<string>): Chain {
  const drawName = (): string => Array.from({ length: 5 }, () => String.fromCharCode(65 + random.integer(26))).join('');
  const names = drawDistinct({ count: HOPS + 1, draw: drawName, isFree: (name) => !used.has(name) });
  const [value] = drawDistinct({ count: 1, draw: () => drawNumber(random, 5), isFree: (number) => !used.has(number) });
  for (const text of [...names, value as string]) used.add(text);
  const depths = names.map(() => random.uniform()).sort((a, b) => a - b);
  const statements = names.map((name, index) => ({
    text: `LET ${name} BE ${index === 0 ? value : `EQUAL TO ${names[index - 1]}`}`,
    depth: depths[index] as number,
  }));
  return { value: value as string, names, statements };
}

function writeBlock(text: string, value: string): string {
  return (
    'The text below sets variables, some of them to other variables. Follow the settings.\n\n' +
    `${text}\n\nQuestion: which ${HOPS + 1} variables end up with the value ${value}?\n` +
    `Answer: The variables that hold ${value} are`
  );
}
