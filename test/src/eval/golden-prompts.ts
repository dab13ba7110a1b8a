// Prompts of the golden model: its own passkey documents as task samples, and masks that matter to it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AnswerRange, HeadMask, Sample } from '../../../src/core/shapes.ts';
import { scoreAllReferences } from '../../../src/eval/metrics/string-match.ts';
import type { TaskSample } from '../../../src/eval/tasks/task.ts';
import { openTokenizer } from '../../../src/text/tokenizer.ts';

export const GOLDEN_FOLDER = join(import.meta.dirname, '../../golden/mha-2l');

export const goldenTokenizer = openTokenizer(GOLDEN_FOLDER);

/** All heads stream with a window far shorter than the texts. */
export const STREAMING: HeadMask = {
  sinkTokens: 4,
  windows: [
    [32, 32, 32, 32],
    [32, 32, 32, 32],
  ],
};

/** Half of the heads stream. */
export const MIXED: HeadMask = {
  ...STREAMING,
  windows: [
    [null, null, null, null],
    [32, 32, 32, 32],
  ],
};

interface GoldenCase {
  readonly text: string;
  readonly target: readonly string[];
  readonly words: number;
}

/** The golden cases with answer ranges over the words after each "answer :". */
export function readGoldenSamples(): Sample[] {
  const { cases } = JSON.parse(readFileSync(join(GOLDEN_FOLDER, 'golden.json'), 'utf8')) as { cases: GoldenCase[] };
  return cases.map(({ text, words }) => {
    const tokens = goldenTokenizer.encode(text);
    const answer = goldenTokenizer.tokenId('answer');
    const answers = tokens.flatMap((token, index): AnswerRange[] =>
      token === answer ? [[index + 2, index + 2 + words]] : [],
    );
    return { tokens, answers };
  });
}

/** Each sample as a prompt up to its first answer; the reference is that answer. */
export function makeGoldenPrompts(): TaskSample[] {
  return readGoldenSamples().map((sample) => {
    const [start, end] = sample.answers[0] as AnswerRange;
    const reference = goldenTokenizer.decode(sample.tokens.slice(start, end));
    return {
      promptTokens: sample.tokens.slice(0, start),
      prompt: goldenTokenizer.decode(sample.tokens.slice(0, start)),
      references: [reference],
      answerOccurrences: [1],
      maxNewTokens: end - start,
      score: (prediction) => scoreAllReferences(prediction, [reference]),
      teacherForced: sample,
      meta: {},
    };
  });
}
