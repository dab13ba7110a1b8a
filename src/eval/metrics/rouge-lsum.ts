// ROUGE-Lsum of Google's `rouge_score` without stemming, as Hugging Face's `evaluate` computes it by default and InfiniteBench
// uses it: a line is a sentence, words are runs of a to z and digits, and a word counts as often as both texts have it.
import { findCommonPlaces } from './common-subsequence.ts';

/** 100 × F; 0 where either text has no word. */
export function scoreRougeLsum(prediction: string, reference: string): number {
  const predicted = splitLines(prediction);
  const expected = splitLines(reference);
  const numPredicted = predicted.flat().length;
  const numExpected = expected.flat().length;
  if (numPredicted === 0 || numExpected === 0) return 0;
  const predictedLeft = countWords(predicted.flat());
  const expectedLeft = countWords(expected.flat());
  let hits = 0;
  for (const sentence of expected) {
    const places = new Set(predicted.flatMap((candidate) => findCommonPlaces(sentence, candidate)));
    for (const place of [...places].sort((a, b) => a - b)) {
      const word = sentence[place] as string;
      const left = Math.min(predictedLeft.get(word) ?? 0, expectedLeft.get(word) ?? 0);
      if (left === 0) continue;
      hits++;
      predictedLeft.set(word, (predictedLeft.get(word) as number) - 1);
      expectedLeft.set(word, (expectedLeft.get(word) as number) - 1);
    }
  }
  if (hits === 0) return 0;
  const recall = hits / numExpected;
  const precision = hits / numPredicted;
  return (200 * precision * recall) / (precision + recall);
}

/** Lines that are not empty, as words. */
function splitLines(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.toLowerCase().match(/[a-z0-9]+/g) ?? []);
}

function countWords(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}
