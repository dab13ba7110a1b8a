// Scores of answers that are a class, a number or a paragraph's number (LongBench's classification, count and retrieval scores), and
// a lenient one for option letters.
import { findDigits } from './python-text.ts';

/** 100 / (classes the prediction names) if the right one is among them. A class that is part of the right one's name is struck off,
 * but the class after it is then not looked at: LongBench takes classes out of the list that it walks. */
export function scoreClassification(prediction: string, reference: string, classes: readonly string[]): number {
  const named = classes.filter((name) => prediction.includes(name));
  for (let index = 0; index < named.length; index++) {
    const name = named[index] as string;
    if (reference.includes(name) && name !== reference) named.splice(named.indexOf(name), 1);
  }
  return named.includes(reference) ? 100 / named.length : 0;
}

/** 100 × the share of the numbers in the prediction that equal the reference. */
export function scoreCount(prediction: string, reference: string): number {
  const numbers = findDigits(prediction);
  return numbers.length === 0 ? 0 : (100 * numbers.filter((number) => number === reference).length) / numbers.length;
}

/** As scoreCount, with the number of the reference's `Paragraph N` or `段落N`; 0 where it has none. */
export function scoreRetrieval(prediction: string, reference: string): number {
  const wanted = /(?:Paragraph |段落)(\p{Nd}+)/u.exec(reference)?.[1];
  return wanted === undefined ? 0 : scoreCount(prediction, wanted);
}

/** Lenient, of no suite: 100 if the option letter (A to D) that the prediction states is the reference: a letter after "answer is",
 * else the first letter that is a word of its own. Only capitals count, so that the article "a" is no answer. */
export function scoreStatedOption(prediction: string, reference: string): number {
  const text = prediction.replaceAll('*', '');
  const stated =
    /[Aa]nswer is:?\s*["'(]?([A-D])\b(?!['’])/.exec(text) ?? /(?:^|[^A-Za-z])([A-D])(?![A-Za-z'’])/.exec(text);
  return stated?.[1] === reference ? 100 : 0;
}
