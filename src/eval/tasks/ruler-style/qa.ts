// Questions over documents with RULER's parameters: the documents that hold the answer, then other paragraphs of the same article
// as far as there are any, then others of the file, in random order. qa_1 reads the user's SQuAD (--squad), qa_2 HotpotQA (--hotpotqa).
import { makeRandom } from '../../../core/random.ts';
import { makeLineFiller } from '../../haystack.ts';
import { scoreAnyReference } from '../../metrics/string-match.ts';
import { completeSample } from '../complete-sample.ts';
import { fitPrompt } from '../fit-length.ts';
import { chooseWording, type EvalTask, makeSampleRandom, type TaskSample } from '../task.ts';
import type { TaskFiles } from '../task-files.ts';

/** RULER's tokens_to_generate. */
const MAX_NEW_TOKENS = 32;

/** A question task over one of the user's files. */
export function defineQaTask(name: 'qa_1' | 'qa_2', set: 'squad' | 'hotpotqa'): EvalTask {
  const task: EvalTask = {
    name,
    describe: `ruler-style: a question whose answer is in one document among many (your --${set}); any accepted answer found`,
    wordings: ['plain'],
    reads: set,
    score: scoreAnyReference,
    hasDepth: false,
    build(options): TaskSample {
      chooseWording(task, options);
      const random = makeSampleRandom(name, options);
      const { documents, questions } = options.files[set as keyof Pick<TaskFiles, 'squad' | 'hotpotqa'>]();
      // sample i asks question i of a shuffled list, so that samples of one seed differ while questions last
      const order = makeRandom(options.seed, 'eval', name, 'questions').distinct(questions.length, questions.length);
      const asked = questions[order[options.index % questions.length] as number] as (typeof questions)[number];
      const gold = new Set(asked.gold);
      const related = new Set(asked.related);
      const rest = random.distinct(documents.length, documents.length).filter((index) => !gold.has(index));
      const others = [
        ...rest.filter((index) => related.has(index)),
        ...rest.filter((index) => !related.has(index)),
      ].map((index) => documents[index] as string);
      const placeSeed = random.integer(2 ** 31);
      const filler = makeLineFiller((index) => others[index] as string);
      const fitted = fitPrompt({
        task: name,
        tokenizer: options.tokenizer,
        lengthTokens: options.lengthTokens,
        reservedTokens: MAX_NEW_TOKENS,
        maxUnits: others.length,
        write: (units) => {
          const chosen = Array.from({ length: units }, (_, index) => filler.unit(index));
          const shown = [...asked.gold.map((index) => documents[index] as string), ...chosen];
          return writePrompt(makeRandom(placeSeed, units).shuffle(shown), asked.question);
        },
      });
      return completeSample({
        build: options,
        fitted,
        references: asked.answers,
        maxNewTokens: MAX_NEW_TOKENS,
        pieces: null,
        score: task.score,
        meta: { documents: fitted.units + gold.size, related: Math.min(related.size, fitted.units) },
      });
    },
  };
  return task;
}

function writePrompt(documents: readonly string[], question: string): string {
  const listed = documents.map((text, index) => `[${index + 1}]\n${text}`).join('\n\n');
  return (
    `Use the documents below to answer the question at their end. Give the answer alone, in as few words as it takes.\n\n` +
    `${listed}\n\nQuestion: ${question}\nAnswer:`
  );
}
