// ROUGE-L as LongBench computes it (the `rouge` package): summary level, sentences cut at full stops, union of the longest
// common subsequences, each different word counted once. For Chinese a word is a character (see normalise.ts).
import { type Language, listWords } from './normalise.ts';

/** 100 × F of the longest common subsequence, 0 where either text is empty. */
export function scoreRougeL(prediction: string, reference: string, language: Language = 'en'): number {
  const predicted = splitSentences(prediction, language);
  const expected = splitSentences(reference, language);
  const predictedWords = new Set(predicted.flat());
  const expectedWords = new Set(expected.flat());
  if (predictedWords.size === 0 || expectedWords.size === 0) return 0;
  const union = new Set<string>();
  for (const sentence of expected) {
    for (const candidate of predicted) {
      for (const word of findCommonSubsequence(sentence, candidate)) union.add(word);
    }
  }
  const recall = union.size / expectedWords.size;
  const precision = union.size / predictedWords.size;
  return union.size === 0 ? 0 : (200 * precision * recall) / (precision + recall);
}

function splitSentences(text: string, language: Language): string[][] {
  if (language === 'zh') return [listWords(text, 'zh')].filter((words) => words.length > 0);
  return text
    .split('.')
    .map((sentence) => sentence.split(/\s+/).filter((word) => word !== ''))
    .filter((words) => words.length > 0);
}

/** One longest common subsequence, in order. Takes |a|·|b| steps and four bytes each. */
export function findCommonSubsequence(a: readonly string[], b: readonly string[]): string[] {
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const at = i * width + j;
      lengths[at] =
        a[i - 1] === b[j - 1]
          ? (lengths[at - width - 1] as number) + 1
          : Math.max(lengths[at - width] as number, lengths[at - 1] as number);
    }
  }
  const found: string[] = [];
  for (let i = a.length, j = b.length; i > 0 && j > 0; ) {
    if (a[i - 1] === b[j - 1]) {
      found.push(a[i - 1] as string);
      i--;
      j--;
    } else if ((lengths[(i - 1) * width + j] as number) > (lengths[i * width + j - 1] as number)) i--;
    else j--;
  }
  return found.reverse();
}
