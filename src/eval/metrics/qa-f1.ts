// Word overlap of question answering: F1 over the multisets of words (SQuAD's, LongBench's qa_f1_score).
import { type Language, listWords } from './normalise.ts';

/** 100 × F1 of predicted against reference words; 0 where either has none in common. */
export function scoreQaF1(prediction: string, reference: string, language: Language = 'en'): number {
  const predicted = listWords(prediction, language);
  const expected = listWords(reference, language);
  const left = new Map<string, number>();
  for (const word of expected) left.set(word, (left.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of predicted) {
    const count = left.get(word) ?? 0;
    if (count === 0) continue;
    left.set(word, count - 1);
    common++;
  }
  return common === 0 ? 0 : (200 * common) / (predicted.length + expected.length);
}
