// What a mask keeps of full attention's score on a task, for `keepPromise`: prompts answered by greedy decoding through the session that
// deployment uses. Full attention answers once, and its scores are kept.
import type { HeadMask } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { evaluateTask } from './evaluate-task.ts';
import type { MeasureKept } from './kept-measures.ts';
import { measureKeptRecall } from './metrics/kept-recall.ts';
import type { TaskSample } from './tasks/task.ts';

/** Scores of a mask's answers over those of full attention's answers to the same prompts.
 * @param options.samples prompts of `task`.  @param options.stopTokens end an answer, without becoming part of it.
 * The measure throws {ConfigError} no samples; {AbortedError}; {EngineError}. */
export function makeTaskMeasure(options: {
  readonly engine: Engine;
  readonly task: string;
  readonly samples: readonly TaskSample[];
  readonly tokenizer: Tokenizer;
  readonly stopTokens: readonly number[];
  readonly signal?: AbortSignal | undefined;
}): MeasureKept {
  const { signal, ...rest } = options;
  const score = async (mask: HeadMask | 'full'): Promise<number[]> => {
    const scores: number[] = [];
    await evaluateTask({
      ...rest,
      mask: { name: mask === 'full' ? 'full' : 'given', mask },
      measure: 'generated',
      length: null,
      ...(signal && { signal }),
      onPrediction: (prediction) => scores.push(prediction.score),
    });
    return scores;
  };
  let full: Promise<number[]> | null = null;
  return async (mask) => {
    full ??= score('full');
    const all = await full;
    const own = await score(mask);
    const pairs = all.map((best, index) => ({ full: best, mask: own[index] as number }));
    return measureKeptRecall(pairs, `full attention itself scores 0 on ${rest.task}`);
  };
}
