// LongBench v2's score: the letter after "The correct answer is", in these words and this case, or no answer at all.
import { scoreStatedOption } from '../metrics/choice.ts';
import type { Scoring } from './scoring.ts';

/** The letter that the suite finds in a response (its extract_answer), null where it finds none. */
export function extractOption(response: string): string | null {
  const text = response.replaceAll('*', '');
  const found = /The correct answer is \(([A-D])\)/.exec(text) ?? /The correct answer is ([A-D])/.exec(text);
  return found?.[1] ?? null;
}

/** @param answer A, B, C or D. */
export function scoreLongbenchV2(answer: string): Scoring {
  return {
    metric: 'accuracy',
    score: (prediction) => (extractOption(prediction) === answer ? 100 : 0),
    others: { 'stated-option': (prediction) => scoreStatedOption(prediction, answer) },
  };
}
