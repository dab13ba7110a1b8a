// How the predictions of one prompt are scored: the suite's own measure, and further ones under their own names.

export interface Scoring {
  /** name of the suite's measure, for example `qa-f1` */
  readonly metric: string;
  /** the suite's own value of a generated text, 0 to 100 */
  readonly score: (prediction: string) => number;
  /** further measures that no table of the suite has, by name */
  readonly others?: Readonly<Record<string, (prediction: string) => number>>;
  /** why the value cannot be compared with the suite's published ones; absent where it can */
  readonly note?: string;
}

/** Best score over several references, 0 for none. */
export function scoreBest(references: readonly string[], score: (reference: string) => number): number {
  return references.reduce((best, reference) => Math.max(best, score(reference)), 0);
}
