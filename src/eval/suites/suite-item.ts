// One prompt of an official suite, as its file gives it, and how it becomes a sample of the length a model can take.
import { ConfigError } from '../../errors/errors.ts';
import type { TaskSample, TaskTokenizer } from '../tasks/task.ts';

export interface SuiteItem {
  /** `suite/task`, for example `longbench/hotpotqa` */
  readonly task: string;
  /** file and line (or row), for messages */
  readonly place: string;
  readonly prompt: string;
  readonly references: readonly string[];
  readonly maxNewTokens: number;
  /** 0 to 100 */
  readonly score: (prediction: string) => number;
  /** what the suite does with a prompt longer than the model: leave its middle out, or nothing (then it is refused) */
  readonly tooLong: 'cut-middle' | 'refuse';
}

/** The sample of an item within `maxTokens` for prompt and answer together.
 * A cut keeps the first and the last half of the tokens that fit, each decoded alone, as LongBench does.
 * @throws {ConfigError} longer than maxTokens where the suite cuts nothing, with place and both lengths. */
export function makeSuiteSample(item: SuiteItem, options: { tokenizer: TaskTokenizer; maxTokens: number }): TaskSample {
  const { tokenizer, maxTokens } = options;
  const budget = maxTokens - item.maxNewTokens;
  let prompt = item.prompt;
  let promptTokens = tokenizer.encode(prompt);
  const fullTokens = promptTokens.length;
  if (fullTokens > budget && (item.tooLong === 'refuse' || budget < 2)) {
    throw new ConfigError(
      `Expected ${item.place} to fit into ${maxTokens} tokens, got ${fullTokens} and ${item.maxNewTokens} for the answer; choose a shorter file or a longer maximum`,
    );
  }
  // a seam may take a token more than its halves did: shorten until the whole fits
  for (let keep = budget; promptTokens.length > budget; keep--) {
    const whole = tokenizer.encode(item.prompt);
    prompt = tokenizer.decode(whole.slice(0, keep >> 1)) + tokenizer.decode(whole.slice(whole.length - (keep >> 1)));
    promptTokens = tokenizer.encode(prompt);
  }
  return {
    promptTokens,
    prompt,
    references: item.references,
    answerOccurrences: item.references.map((reference) => prompt.split(reference).length - 1),
    maxNewTokens: item.maxNewTokens,
    score: item.score,
    teacherForced: null,
    meta: { place: item.place, fullTokens, isCut: fullTokens > budget },
  };
}

/** Best score over several references, 0 for none. */
export function scoreBest(references: readonly string[], score: (reference: string) => number): number {
  return Math.max(0, ...references.map(score));
}
