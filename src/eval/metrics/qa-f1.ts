// Word overlap of question answering: F1 over the multisets of words (SQuAD's, LongBench's and InfiniteBench's qa_f1_score).
import { listEnglishWords, normaliseChinese } from './normalise.ts';
import type { Segmenter } from './segment-chinese.ts';

/** 100 × F1 of predicted against reference words, English. */
export function scoreQaF1(prediction: string, reference: string): number {
  return scoreWordF1(listEnglishWords(prediction), listEnglishWords(reference));
}

/** 100 × F1 of Chinese words: cut first, then normalised word by word (LongBench's qa_f1_zh_score). */
export function scoreChineseQaF1(prediction: string, reference: string, segment: Segmenter): number {
  const listWords = (text: string): string[] =>
    segment(text)
      .map(normaliseChinese)
      .filter((word) => word !== '');
  return scoreWordF1(listWords(prediction), listWords(reference));
}

/** 100 × F1 of Chinese characters after normalisation (InfiniteBench's qa_f1_score_zh). */
export function scoreCharacterF1(prediction: string, reference: string): number {
  return scoreWordF1([...normaliseChinese(prediction)], [...normaliseChinese(reference)]);
}

/** 100 × F1 over multisets; 0 where they have nothing in common. */
export function scoreWordF1(predicted: readonly string[], expected: readonly string[]): number {
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
