// One prompt of an official suite, as its file gives it.
import type { Scoring } from './scoring.ts';

export interface SuiteItem {
  /** `suite/task`, for example `longbench/hotpotqa` */
  readonly task: string;
  /** file and line (or row), for messages */
  readonly place: string;
  /** what a person would ask; with a chat template it becomes the user's message */
  readonly prompt: string;
  /** how the answer begins, where the suite says so: after the prompt, or after the template's assistant header */
  readonly answerPrefix?: string;
  /** between prompt and answerPrefix without a chat template, default nothing */
  readonly joint?: string;
  readonly references: readonly string[];
  readonly maxNewTokens: number;
  readonly scoring: Scoring;
  /** What the suite does with a prompt that is too long: leave its middle out, each half decoded alone (LongBench) or both as one
   * text, or nothing (then it is refused). */
  readonly tooLong: 'cut-halves' | 'cut-joined' | 'refuse';
  /** true where the suite asks instruct models through their chat template */
  readonly wantsChat: boolean;
  /** true where the answer ends with its first line, which must not be empty */
  readonly endsWithLine?: boolean;
  /** the fields of the suite's own prediction files that score a prediction again */
  readonly record: Readonly<Record<string, unknown>>;
  /** words (characters in Chinese) of the text, where the suite groups its results by it */
  readonly length?: number;
}
