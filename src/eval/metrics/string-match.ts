// Whether references occur in a prediction: RULER's two scores, and lenient ones.
import { stripWhiteSpace } from './python-text.ts';

/** A prediction as RULER's evaluate.py cleans it: outer white space and then control characters, each a line break, go. */
export function cleanPrediction(prediction: string): string {
  return stripWhiteSpace(stripWhiteSpace(prediction).replace(CONTROL, '\n'));
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: RULER names exactly these
const CONTROL = /[\x00-\x1f]/g;

/** As kvpress cleans it: control characters are taken out. */
export function removeControlCharacters(prediction: string): string {
  return stripWhiteSpace(stripWhiteSpace(prediction).replace(CONTROL, ''));
}

/** 100 × the share of references that occur in the prediction, whatever their case (RULER's string_match_all). */
export function scoreAllReferences(prediction: string, references: readonly string[]): number {
  if (references.length === 0) return 0;
  const said = prediction.toLowerCase();
  const found = references.filter((reference) => said.includes(reference.toLowerCase()));
  return (100 * found.length) / references.length;
}

/** 100 if any reference occurs in the prediction, whatever its case, else 0 (RULER's string_match_part). */
export function scoreAnyReference(prediction: string, references: readonly string[]): number {
  const said = prediction.toLowerCase();
  return references.some((reference) => said.includes(reference.toLowerCase())) ? 100 : 0;
}

/** Lower case, white space as single spaces: for lenient scores. */
export const foldSpace = (text: string): string => text.toLowerCase().replace(/\s+/g, ' ').trim();

/** 100 × the share of a reference's different words that occur in the prediction, for the best reference: 100 for the
 * reference itself, however often it repeats a word. */
export function scoreWordRecall(prediction: string, references: readonly string[]): number {
  const wordsOf = (text: string): Set<string> => new Set(foldSpace(text).match(/[\p{L}\p{N}]+/gu) ?? []);
  const said = wordsOf(prediction);
  const shares = references.map((reference) => {
    const words = [...wordsOf(reference)];
    return words.length === 0 ? 0 : words.filter((word) => said.has(word)).length / words.length;
  });
  return 100 * Math.max(0, ...shares);
}
