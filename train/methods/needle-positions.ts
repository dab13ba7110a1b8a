// Where a sample's answers occur in its text: what methods that look at attention look for. Works on any samples file, for it
// reads nothing but tokens and answer ranges.
import type { AnswerRange, Sample } from '../../src/core/shapes.ts';

/** An answer and the earlier place that holds the same tokens. */
export interface LocatedAnswer {
  readonly answer: AnswerRange;
  /** [start, end) of the first occurrence before the answer */
  readonly needle: AnswerRange;
}

/** Answers whose tokens occur earlier in the sample; the others, and answers of one token that any text holds, are left out.
 * @returns in order of the sample's ranges. */
export function locateNeedles(sample: Sample, leastTokens = 2): LocatedAnswer[] {
  const { tokens } = sample;
  return sample.answers.flatMap(([start, end]): LocatedAnswer[] => {
    const length = end - start;
    if (length < leastTokens) return [];
    for (let place = 0; place + length <= start; place++) {
      let matched = 0;
      while (matched < length && tokens[place + matched] === tokens[start + matched]) matched++;
      if (matched === length) return [{ answer: [start, end], needle: [place, place + length] }];
    }
    return [];
  });
}
