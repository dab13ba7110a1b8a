// Running text that samples and prompts take their filler from, by tokens. data-gen makes such sources; evaluation reads their held-out part.
import type { Random } from './random.ts';

/** Which part of the documents: no document is in both. */
export type Split = 'train' | 'held-out';

export interface HaystackSource {
  /** At least `tokens` token ids of text for one sample, drawn with `random` alone; train and held-out never share a document.
   * @param options.repeats whether text may be repeated where there is too little, default true. @throws {FormatError} false, and it would. */
  take(options: {
    readonly tokens: number;
    readonly random: Random;
    readonly split: Split;
    readonly repeats?: boolean;
  }): number[];
  /** for people: what it is and how much of it */
  readonly description: string;
  /** sha256:… over what it reads, for provenance */
  readonly hash: string;
}
