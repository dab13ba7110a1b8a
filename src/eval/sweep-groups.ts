// The groups of a sweep: each task at each length (and depth), or the prompts of a suite's file, with what decides them.
import { createHash } from 'node:crypto';
import type { HaystackSource } from '../core/haystack.ts';
import type { EvalRow } from '../formats/results.ts';
import type { SuiteItem } from './suites/suite-item.ts';
import { makeSuiteSample } from './suites/suite-sample.ts';
import type { SweepGroup } from './sweep.ts';
import type { EvalTask, TaskTokenizer, Wording } from './tasks/task.ts';
import type { TaskFiles } from './tasks/task-files.ts';

/** Whether prompts go through the model's chat template. */
export type ChatUse = 'on' | 'off' | 'auto';

/** Groups of tasks × lengths × depths.
 * @param options.depths 0 to 1; only tasks with a movable needle get them, the others one group per length; default: depths drawn.
 * @param options.samples prompts per group, at least 1.
 * @param options.isChat the tokenizer puts prompts into a chat template, default false.
 * @param options.inputsHash hash of tokenizer, haystack and files: everything outside the other options that decides a prompt. */
export function makeTaskGroups(options: {
  readonly tasks: readonly EvalTask[];
  readonly lengths: readonly number[];
  readonly depths?: readonly number[];
  readonly samples: number;
  readonly seed: number;
  readonly measure: EvalRow['measure'];
  readonly wording?: Wording;
  readonly tokenizer: TaskTokenizer;
  readonly isChat?: boolean;
  readonly haystack: HaystackSource;
  readonly files: TaskFiles;
  readonly inputsHash: string;
}): SweepGroup[] {
  const {
    tasks,
    lengths,
    depths = [],
    samples,
    seed,
    measure,
    wording = 'plain',
    isChat = false,
    inputsHash,
  } = options;
  const { tokenizer, haystack, files } = options;
  return tasks.flatMap((task) =>
    lengths.flatMap((lengthTokens) => {
      const places = task.hasDepth && depths.length > 0 ? depths : [undefined];
      return places.map((depth): SweepGroup => {
        const at = depth === undefined ? {} : { depth };
        return {
          task: task.name,
          length: lengthTokens,
          ...at,
          measure,
          identity: { seed, samples, wording, inputsHash, ...(isChat ? { chat: true } : {}) },
          numSamples: samples,
          mostTokens: lengthTokens,
          build: () =>
            Array.from({ length: samples }, (_, index) =>
              task.build({ tokenizer, lengthTokens, seed, index, haystack, files, wording, ...at }),
            ),
        };
      });
    }),
  );
}

/** One group per task among the items, all answered by generated text.
 * @param options.maxTokens prompt and answer together that the model takes; longer prompts are cut or refused as their suite does.
 * @param options.maxPromptTokens most tokens of the prompt alone, for suites that cut.
 * @param options.renderChat the model's chat template round a user's message; null where it has none.
 * @param options.chat 'auto': the template where there is one and the suite wants it. */
export function makeSuiteGroups(options: {
  readonly items: readonly SuiteItem[];
  readonly maxTokens: number;
  readonly maxPromptTokens?: number;
  readonly tokenizer: TaskTokenizer;
  readonly renderChat: ((message: string) => string) | null;
  readonly chat: ChatUse;
  readonly inputsHash: string;
}): SweepGroup[] {
  const { items, maxTokens, maxPromptTokens, tokenizer, renderChat, chat, inputsHash } = options;
  return [...new Set(items.map((item) => item.task))].map((task): SweepGroup => {
    const own = items.filter((item) => item.task === task);
    const hash = createHash('sha256');
    for (const { scoring, record, ...item } of own)
      hash.update(JSON.stringify([item, record, scoring.metric, scoring.note]));
    const template = (item: SuiteItem): typeof renderChat =>
      chat === 'on' || (chat === 'auto' && item.wantsChat) ? renderChat : null;
    return {
      task,
      length: null,
      measure: 'generated',
      identity: {
        items: hash.digest('hex'),
        maxTokens,
        maxPromptTokens: maxPromptTokens ?? null,
        chat: own.some((item) => template(item) !== null),
        inputsHash,
      },
      numSamples: own.length,
      mostTokens: estimateMostTokens(own, { tokenizer, maxTokens, maxPromptTokens }),
      build: () =>
        own.map((item) =>
          makeSuiteSample(item, {
            tokenizer,
            maxTokens,
            ...(maxPromptTokens === undefined ? {} : { maxPromptTokens }),
            renderChat: template(item),
          }),
        ),
    };
  });
}

/** Above the longest text's own tokens: a shorter one may have more. */
const TOKENS_MARGIN = 1.1;

/** Tokens of a suite's longest prompt with its answer, by the prompt of most characters: counting all would tokenise the suite once more. */
function estimateMostTokens(
  items: readonly SuiteItem[],
  options: {
    readonly tokenizer: TaskTokenizer;
    readonly maxTokens: number;
    readonly maxPromptTokens: number | undefined;
  },
): number {
  const { tokenizer, maxTokens, maxPromptTokens = maxTokens } = options;
  const longest = items.reduce((most, item) => (item.prompt.length > most.length ? item.prompt : most), '');
  const promptTokens = Math.min(maxPromptTokens, Math.ceil(TOKENS_MARGIN * tokenizer.encode(longest).length));
  return Math.min(maxTokens, promptTokens + Math.max(...items.map((item) => item.maxNewTokens)));
}
