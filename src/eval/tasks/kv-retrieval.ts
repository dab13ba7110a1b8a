// A JSON object of UUID pairs and the value of one key, in the manner of InfiniteBench's kv_retrieval.
import { scoreAllReferences } from '../metrics/string-match.ts';
import { countAnswerTokens } from './answer-text.ts';
import { completeSample } from './complete-sample.ts';
import { fitPrompt } from './fit-length.ts';
import { chooseWording, type EvalTask, makeSampleRandom } from './task.ts';
import { drawUuid } from './words.ts';

const SPARE_TOKENS = 8;

export const kvRetrieval: EvalTask = {
  name: 'kv-retrieval',
  describe: 'the value of one key in a JSON object of UUID pairs; found or not',
  wordings: ['plain'],
  score: scoreAllReferences,
  hasDepth: true,
  build(options) {
    chooseWording(kvRetrieval, options);
    const random = makeSampleRandom('kv-retrieval', options);
    const [key, value] = [drawUuid(random), drawUuid(random)];
    const depth = options.depth ?? random.uniform();
    const pairs: string[] = [];
    const takePairs = (count: number): string[] => {
      while (pairs.length < count) pairs.push(`"${drawUuid(random)}": "${drawUuid(random)}"`);
      return pairs.slice(0, count);
    };
    const pieces = [
      { text: ' "', isAnswer: false },
      { text: value, isAnswer: true },
    ];
    const maxNewTokens = countAnswerTokens(options.tokenizer, pieces) + SPARE_TOKENS;
    const fitted = fitPrompt({
      task: 'kv-retrieval',
      tokenizer: options.tokenizer,
      lengthTokens: options.lengthTokens,
      reservedTokens: maxNewTokens,
      write: (units) => {
        const shown = takePairs(units);
        shown.splice(Math.round(depth * units), 0, `"${key}": "${value}"`);
        return (
          'Below is a JSON object. Look up one of its keys.\n\n' +
          `{${shown.join(', ')}}\n\nQuestion: which value belongs to the key "${key}"?\nAnswer: "${key}":`
        );
      },
    });
    return completeSample({
      build: options,
      fitted,
      references: [value],
      maxNewTokens,
      pieces,
      score: kvRetrieval.score,
      meta: { key, depth, pairs: fitted.units + 1 },
    });
  },
};
