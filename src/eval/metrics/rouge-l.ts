// ROUGE-L as LongBench computes it, with the `rouge` package 1.0.1: summary level, sentences cut at full stops, the union of the
// longest common subsequences of all pairs of sentences, each different word counted once.
import { findCommonSubsequence } from './common-subsequence.ts';
import { splitWhiteSpace } from './python-text.ts';
import type { Segmenter } from './segment-chinese.ts';

/** Steps that rouge's recursive search takes back through its table before Python's limit of 1000 calls stops it, called as
 * LongBench's eval.py does: nine calls lie above its first, and one comparison below its last. */
const MAX_STEPS = 989;
/** Keeps rouge from dividing by zero, and takes up to 5e-7 of 100 off its scores. */
const EPSILON = 1e-8;

/** 100 × F. 0 where a text has no sentence and where rouge raises: LongBench turns its exceptions into 0.
 * @param options.callsAbove calls of Python between eval.py's usual ones and rouge, default 0. */
export function scoreRougeL(prediction: string, reference: string, options: { callsAbove?: number } = {}): number {
  const predicted = splitSentences(prediction);
  const expected = splitSentences(reference);
  if (predicted.length === 0 || expected.length === 0) return 0;
  const union = new Set<string>();
  for (const sentence of expected) {
    for (const candidate of predicted) {
      const { words, steps } = findCommonSubsequence(sentence, candidate);
      if (steps > MAX_STEPS - (options.callsAbove ?? 0)) return 0;
      for (const word of words) union.add(word);
    }
  }
  const recall = union.size / new Set(expected.flat()).size;
  const precision = union.size / new Set(predicted.flat()).size;
  return 100 * 2 * ((precision * recall) / (precision + recall + EPSILON));
}

/** ROUGE-L of Chinese texts: their words, joined by spaces (LongBench's rouge_zh_score). */
export function scoreChineseRougeL(prediction: string, reference: string, segment: Segmenter): number {
  return scoreRougeL(segment(prediction).join(' '), segment(reference).join(' '), { callsAbove: 1 });
}

/** Words of each sentence. A sentence of white space has one word, the empty one, as in rouge. */
function splitSentences(text: string): string[][] {
  return text
    .split('.')
    .filter((sentence) => sentence !== '')
    .map((sentence) => {
      const words = splitWhiteSpace(sentence);
      return words.length === 0 ? [''] : words;
    });
}
