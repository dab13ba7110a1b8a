// Similarity of a line of code: fuzzywuzzy 0.18's `ratio` of the first line that is code (LongBench's code_sim_score). fuzzywuzzy
// takes Python's difflib, or python-Levenshtein where that is installed, and the two differ; LongBench's tables used difflib.
import { measureCommonSubsequence } from './common-subsequence.ts';
import { countMatchedCharacters } from './matching-blocks.ts';
import { roundHalfEven } from './python-text.ts';

export type CodeSimilarity = 'difflib' | 'levenshtein';

export const CODE_SIMILARITIES: readonly CodeSimilarity[] = ['difflib', 'levenshtein'];

/** A whole number from 0 to 100: similarity of the first line without backtick, `#` or `//` to the reference. */
export function scoreEditSimilarity(prediction: string, reference: string, variant: CodeSimilarity): number {
  const lines = prediction.replace(/^\n+/, '').split('\n');
  const code = lines.find((line) => !/[`#]|\/\//.test(line)) ?? '';
  if (code === reference) return 100;
  if (code === '' || reference === '') return 0;
  const said = [...code];
  const expected = [...reference];
  const matched =
    variant === 'difflib' ? countMatchedCharacters(said, expected) : measureCommonSubsequence(said, expected);
  return roundHalfEven(100 * ((2 * matched) / (said.length + expected.length)));
}
