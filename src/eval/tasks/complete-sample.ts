// Makes the TaskSample of a fitted prompt: its true continuation, score and what is known of it.
import { type AnswerPiece, makeAnswerSample } from './answer-text.ts';
import type { FittedPrompt } from './fit-length.ts';
import type { BuildOptions, TaskSample } from './task.ts';

/** Occurrences of `part` in `text`, none overlapping. */
export function countOccurrences(text: string, part: string): number {
  return part === '' ? 0 : text.split(part).length - 1;
}

/** The sample of a prompt.
 * @param options.pieces the true continuation, or null where there is no single one. */
export function completeSample(options: {
  readonly build: BuildOptions;
  readonly fitted: FittedPrompt;
  readonly references: readonly string[];
  readonly maxNewTokens: number;
  readonly pieces: readonly AnswerPiece[] | null;
  readonly score: (prediction: string, references: readonly string[]) => number;
  readonly meta?: Readonly<Record<string, unknown>>;
}): TaskSample {
  const { build, fitted, references, maxNewTokens, pieces, score, meta = {} } = options;
  return {
    promptTokens: fitted.promptTokens,
    prompt: fitted.prompt,
    references,
    answerOccurrences: references.map((reference) => countOccurrences(fitted.prompt, reference)),
    maxNewTokens,
    score: (prediction) => score(prediction, references),
    teacherForced: pieces === null ? null : makeAnswerSample(build.tokenizer, fitted.prompt, pieces),
    meta: { index: build.index, units: fitted.units, ...meta },
  };
}
