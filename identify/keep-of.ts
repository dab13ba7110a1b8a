// What a promise is measured by: recall of held-out answers, kept gain on held-out text, or the score of a task of `duo eval`, each on samples
// that were not used to find the heads. They are made before the heads are scored, so that what they lack is said at once.
import { openFileHaystack } from '../data-gen/file-haystack.ts';
import { openHaystack } from '../data-gen/haystack.ts';
import type { Config } from '../src/config/config.ts';
import { makeRandom } from '../src/core/random.ts';
import { ConfigError } from '../src/errors/errors.ts';
import { type MeasureKept, makeGainMeasure, makeRecallMeasure } from '../src/eval/kept-measures.ts';
import { makeTaskMeasure } from '../src/eval/task-measure.ts';
import { adaptTokenizer } from '../src/eval/tasks/adapt-tokenizer.ts';
import type { EvalTask, TaskSample } from '../src/eval/tasks/task.ts';
import { openTaskFiles, type TaskFiles } from '../src/eval/tasks/task-files.ts';
import { EVAL_TASKS } from '../src/eval/tasks/task-list.ts';
import { isDemoModel } from '../src/model/open-model.ts';
import { openTokenizer } from '../src/text/tokenizer.ts';
import { findDocuments } from './documents.ts';
import { readHeldOut, takeHeldOutTexts } from './held-out.ts';
import type { Parts } from './parts.ts';

/** Texts that a promise of kept gain is measured on, and prompts that one of a task is. */
const PROMISE_SAMPLES = 16;
/** Prompts are numbered from here, so that none is one of `duo eval`. */
const FIRST_PROMPT = 1_000_000;
/** Read files that identify does not take. */
const FILE_TASKS = new Set(['qa_1', 'qa_2']);

/** What masks are measured by. */
export interface PromiseMeasure {
  readonly measure: MeasureKept;
  readonly count: number;
  /** `recall on 16 held-out samples` */
  readonly what: string;
}

/** The task of this name; null for `recall` and `gain`. @param name of the key in errors. @throws {ConfigError} no such task, or one that needs a file. */
export function findKeepTask(keepOf: string, name = '`keepOf`'): EvalTask | null {
  if (keepOf === 'recall' || keepOf === 'gain') return null;
  const tasks = EVAL_TASKS.filter((task) => !FILE_TASKS.has(task.name));
  const task = tasks.find((candidate) => candidate.name === keepOf);
  if (task) return task;
  const known = tasks.map((candidate) => candidate.name).join(', ');
  const why = FILE_TASKS.has(keepOf) ? ', which needs a file of questions that an identification does not read' : '';
  throw new ConfigError(`Expected ${name} to be recall, gain or one of ${known}, got \`${keepOf}\`${why}.`);
}

/** Samples of what `keepOf` names, and their measure. @throws {ConfigError} the task cannot be made at this length or in the demo's words;
 *   {FormatError} no tokenizer, too little text; {FileError}. */
export async function preparePromise(parts: Parts, keepOf: string): Promise<PromiseMeasure> {
  const { engine, config, folder } = parts;
  const { signal } = parts.options;
  const task = findKeepTask(keepOf);
  if (keepOf === 'recall') {
    const samples = await readHeldOut(parts);
    const count = samples.length;
    const what = `recall on ${count} held-out samples`;
    return { measure: makeRecallMeasure({ engine, samples, signal }), count, what };
  }
  if (task === null) {
    const texts = await takeHeldOutTexts(parts, { leastTexts: PROMISE_SAMPLES });
    const count = texts.length;
    const measure = makeGainMeasure({ engine, texts, window: config, signal });
    return { measure, count, what: `gain on ${count} held-out texts` };
  }
  const samples = await makePrompts(parts, task);
  const tokenizer = openTokenizer(folder.path);
  const stopTokens = [...new Set([...tokenizer.eosTokenIds, ...folder.config.eosTokenIds])];
  const measure = makeTaskMeasure({ engine, task: task.name, samples, tokenizer, stopTokens, signal });
  return { measure, count: samples.length, what: `score of ${task.name} on ${samples.length} prompts` };
}

/** Prompts as long as the longest sample. Essays are held-out text of the documents, other filler that of --haystack or generated prose. */
async function makePrompts({ options, folder, config }: Parts, task: EvalTask): Promise<TaskSample[]> {
  const tokenizer = openTokenizer(folder.path);
  const { seed } = config;
  const lengthTokens = Math.min(config.maxTokens, folder.config.shape.maxPositions);
  const haystack = await openHaystack({ path: options.haystack ?? null, tokenizer });
  const wording = isDemoModel(folder) ? ('small-vocabulary' as const) : ('plain' as const);
  const takeEssays = await openEssays({ options, folder }, lengthTokens);
  const words = adaptTokenizer(tokenizer);
  return Array.from({ length: Math.max(PROMISE_SAMPLES, config.heldOutSamples) }, (_, number) => {
    const index = FIRST_PROMPT + number;
    const files: TaskFiles = { ...openTaskFiles({}), essays: () => takeEssays(seed, index) };
    return task.build({ tokenizer: words, lengthTokens, seed, index, haystack, files, wording });
  });
}

async function openEssays(
  { options, folder }: Pick<Parts, 'options' | 'folder'>,
  tokens: number,
): Promise<(seed: Config['seed'], index: number) => string> {
  const tokenizer = openTokenizer(folder.path);
  const path = findDocuments({ documents: options.documents ?? options.haystack });
  const documents = await openFileHaystack({ path, heldOutPath: options.heldOutDocuments, tokenizer });
  return (seed, index) =>
    tokenizer.decode(
      documents.take({ tokens, random: makeRandom(seed, 'promise', 'essays', index), split: 'held-out' }),
    );
}
