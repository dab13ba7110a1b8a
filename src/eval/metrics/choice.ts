// Scores of answers that are a label, a number or a paragraph's number (LongBench's classification, count and retrieval scores).

/** 100 / (classes the prediction names) if the right one is among them. A class whose name is part of the right one's does not count. */
export function scoreClassification(prediction: string, reference: string, classes: readonly string[]): number {
  const named = classes.filter(
    (name) => prediction.includes(name) && !(name !== reference && reference.includes(name)),
  );
  return named.includes(reference) ? 100 / named.length : 0;
}

/** 100 × the share of the numbers in the prediction that equal the reference number. */
export function scoreCount(prediction: string, reference: string): number {
  return scoreNumbers(prediction, reference.trim());
}

/** As scoreCount, with the number of the reference's `Paragraph N` or `段落N`. */
export function scoreRetrieval(prediction: string, reference: string): number {
  const wanted = /(?:Paragraph |段落)(\d+)/.exec(reference)?.[1];
  return wanted === undefined ? 0 : scoreNumbers(prediction, wanted);
}

/** 100 if the option letter (A to D) that the prediction states is the reference: a letter after "answer is", else a letter alone. */
export function scoreOption(prediction: string, reference: string): number {
  const text = prediction.replaceAll('*', '');
  const stated =
    /answer is:?\s*\(?([A-D])\)?(?![A-Za-z])/i.exec(text) ?? /(?:^|[^A-Za-z])\(?([A-D])\)?(?![A-Za-z'’])/.exec(text);
  return stated?.[1]?.toUpperCase() === reference.trim().toUpperCase() ? 100 : 0;
}

function scoreNumbers(prediction: string, wanted: string): number {
  const numbers = prediction.match(/\d+/g) ?? [];
  return numbers.length === 0 ? 0 : (100 * numbers.filter((number) => number === wanted).length) / numbers.length;
}
