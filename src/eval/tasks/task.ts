// The form of an evaluation task: from a tokenizer, a length and a seed to a prompt, its right answers and a score.

import type { HaystackSource } from '../../core/haystack.ts';
import { makeRandom, type Random } from '../../core/random.ts';
import type { Sample } from '../../core/shapes.ts';
import { ConfigError } from '../../errors/errors.ts';
import type { TaskFiles } from './task-files.ts';

/** What tasks need of a tokenizer; `encode` adds what the model wants at the start of a text (BOS). */
export interface TaskTokenizer {
  encode(text: string): number[];
  decode(tokens: readonly number[]): string;
  /** tokens of a text that a chat template wrote: nothing is added, for the template writes BOS itself */
  encodeTemplated(text: string): number[];
  /** true where the text's first token is a special one, written in the text itself */
  beginsWithSpecial(text: string): boolean;
}

/** `plain` for language models; `small-vocabulary` keeps to the closed vocabulary of the demo model. */
export type Wording = 'plain' | 'small-vocabulary';

export interface BuildOptions {
  readonly tokenizer: TaskTokenizer;
  /** tokens of prompt and `maxNewTokens` together; reached within one haystack unit, never passed */
  readonly lengthTokens: number;
  readonly seed: number;
  /** which sample of the seed, 0, 1, … */
  readonly index: number;
  readonly haystack: HaystackSource;
  readonly files: TaskFiles;
  /** 0 to 1, the place of the (first) needle; default drawn from the seed */
  readonly depth?: number;
  /** default 'plain' */
  readonly wording?: Wording;
}

/** One prompt with its right answers. */
export interface TaskSample {
  readonly promptTokens: number[];
  readonly prompt: string;
  /** each a right answer, or a part of it that counts on its own */
  readonly references: readonly string[];
  /** how often each reference occurs in the prompt */
  readonly answerOccurrences: readonly number[];
  readonly maxNewTokens: number;
  /** 0 to 100 for a generated text */
  readonly score: (prediction: string) => number;
  /** name of that score; default `string-match` */
  readonly metric?: string;
  /** further scores that are kept as well, 0 to 100, by name */
  readonly others?: Readonly<Record<string, (prediction: string) => number>>;
  /** why the score cannot be compared with published ones */
  readonly note?: string;
  /** ids that end the answer besides the model's own */
  readonly stopTokens?: readonly number[];
  /** what else a kept prediction needs to be scored again: the fields of the suite's own prediction files */
  readonly record?: Readonly<Record<string, unknown>>;
  /** tokens of an answer that no stop token may take the place of, default 0 */
  readonly minNewTokens?: number;
  /** prompt and answer as one sample with answer ranges; null where the answer has no single order or spelling */
  readonly teacherForced: Sample | null;
  readonly meta: Readonly<Record<string, unknown>>;
}

export interface EvalTask {
  readonly name: string;
  /** one sentence: what is hidden in what, and how it is scored */
  readonly describe: string;
  readonly wordings: readonly Wording[];
  /** the user's file that it reads; absent where it reads none */
  readonly reads?: keyof TaskFiles;
  /** 0 to 100, of a generated text against the references of its prompt; of samples and of kept predictions */
  readonly score: (prediction: string, references: readonly string[]) => number;
  /** True where `depth` moves the place of the answer. */
  readonly hasDepth: boolean;
  /** Same options, same sample. @throws {ConfigError} length too small, wording not offered, a file the task needs not given. */
  build(options: BuildOptions): TaskSample;
}

/** The generator of one sample: other tasks, lengths and indices draw other numbers. */
export function makeSampleRandom(task: string, options: BuildOptions): Random {
  return makeRandom(options.seed, 'eval', task, options.lengthTokens, options.index);
}

/** The wording asked for. @throws {ConfigError} where the task does not offer it. */
export function chooseWording(task: Pick<EvalTask, 'name' | 'wordings'>, options: BuildOptions): Wording {
  const wording = options.wording ?? 'plain';
  if (task.wordings.includes(wording)) return wording;
  throw new ConfigError(`Task \`${task.name}\` has no wording \`${wording}\`; it offers ${task.wordings.join(', ')}`);
}

/** Text with `{slot}`s replaced. @throws {RangeError} a slot without a value. */
export function fillTemplate(template: string, slots: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (_, slot: string) => {
    const value = slots[slot];
    if (value === undefined) throw new RangeError(`fillTemplate: no value for {${slot}}`);
    return value;
  });
}
