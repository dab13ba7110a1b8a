// RULER's two scores: the share of references that occur in a prediction, and whether any one does. Letter case and the
// amount of white space do not count.

const simplify = (text: string): string => text.toLowerCase().replace(/\s+/g, ' ').trim();

/** 100 × the share of references that occur in the prediction (RULER's string_match_all). */
export function scoreAllReferences(prediction: string, references: readonly string[]): number {
  if (references.length === 0) return 0;
  const found = references.filter((reference) => simplify(prediction).includes(simplify(reference)));
  return (100 * found.length) / references.length;
}

/** 100 if any reference occurs in the prediction, else 0 (RULER's string_match_part). */
export function scoreAnyReference(prediction: string, references: readonly string[]): number {
  return references.some((reference) => simplify(prediction).includes(simplify(reference))) ? 100 : 0;
}

/** 100 if the prediction equals a reference but for case, white space and a final full stop, else 0. */
export function scoreExact(prediction: string, references: readonly string[]): number {
  const strip = (text: string): string => simplify(text).replace(/[.。]$/, '');
  return references.some((reference) => strip(reference) === strip(prediction)) ? 100 : 0;
}

/** 100 × the share of a reference's different words that occur in the prediction, for the best reference: 100 for the
 * reference itself, however often it repeats a word. */
export function scoreWordRecall(prediction: string, references: readonly string[]): number {
  const wordsOf = (text: string): Set<string> => new Set(simplify(text).match(/[\p{L}\p{N}]+/gu) ?? []);
  const said = wordsOf(prediction);
  const shares = references.map((reference) => {
    const words = [...wordsOf(reference)];
    return words.length === 0 ? 0 : words.filter((word) => said.has(word)).length / words.length;
  });
  return 100 * Math.max(0, ...shares);
}
