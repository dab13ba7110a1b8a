// What the small models are: their shapes, initial weights and training courses. scripts/train-demo.ts follows them.
import type { DocumentOptions } from './demo-documents.ts';

/** Some steps with documents of one kind. */
export interface Stage extends DocumentOptions {
  readonly steps: number;
  /** documents in a batch */
  readonly sequences: number;
}

export interface Recipe {
  readonly shape: {
    readonly layers: number;
    readonly hidden: number;
    readonly intermediate: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly headDim: number;
  };
  readonly ropeTheta: number;
  readonly maxPositions: number;
  readonly seed: number;
  /** tokens that each query head of layer 0 looks back at the start of training (demo-batches.ts); none = random weights alone */
  readonly lookBack?: readonly number[];
  /** peak learning rate of AdamW */
  readonly lr: number;
  readonly stages: readonly Stage[];
  /** lengths of the evaluation, tokens */
  readonly evaluationLengths: readonly number[];
  /** passkeys × words of the evaluation */
  readonly evaluationPasskeys: readonly (readonly [passkeys: number, words: number])[];
}

// Short documents in many wordings first: where a key stands right before its words the match is plain induction, which forms from
// random weights; the passkey's wording, four tokens apart, then grows out of it.
export const RECIPES: Readonly<Record<'demo' | 'tiny' | 'large', Recipe>> = {
  demo: {
    shape: { layers: 4, hidden: 128, intermediate: 384, heads: 8, kvHeads: 8, headDim: 32 },
    ropeTheta: 1e6,
    maxPositions: 8192,
    seed: 1,
    lookBack: [1, 4, 1, 4, 2, 4, 2, 3],
    lr: 1.2e-3,
    stages: [
      { steps: 320, sequences: 32, length: 64, facts: [1, 3], wordsPerFact: [2, 4], otherShare: 0.3, jump: 0 },
      { steps: 240, sequences: 16, length: 128, facts: [2, 5], wordsPerFact: [3, 5], otherShare: 0.2, jump: 0 },
      { steps: 280, sequences: 10, length: 256, facts: [2, 8], wordsPerFact: [3, 6], otherShare: 0.2, jump: 2000 },
      { steps: 240, sequences: 6, length: 512, facts: [2, 10], wordsPerFact: [3, 8], otherShare: 0.2, jump: 7000 },
    ],
    evaluationLengths: [512, 1024, 2048, 4096, 8192],
    evaluationPasskeys: [
      [5, 5],
      [10, 8],
    ],
  },
  tiny: {
    shape: { layers: 2, hidden: 64, intermediate: 192, heads: 8, kvHeads: 4, headDim: 32 },
    ropeTheta: 1e6,
    maxPositions: 2048,
    seed: 1,
    lr: 2e-3,
    stages: [
      { steps: 1000, sequences: 32, length: 64, facts: [1, 3], wordsPerFact: [2, 4], otherShare: 0.5, jump: 0 },
      { steps: 400, sequences: 16, length: 128, facts: [1, 5], wordsPerFact: [3, 5], otherShare: 0.25, jump: 0 },
      { steps: 400, sequences: 10, length: 256, facts: [2, 6], wordsPerFact: [3, 5], otherShare: 0.2, jump: 1000 },
      { steps: 300, sequences: 6, length: 512, facts: [2, 6], wordsPerFact: [3, 5], otherShare: 0.2, jump: 1500 },
    ],
    evaluationLengths: [192, 512, 1024],
    evaluationPasskeys: [
      [3, 4],
      [5, 5],
    ],
  },
  // Twice the demo's layers, for the comparison of methods; not shipped.
  large: {
    shape: { layers: 8, hidden: 128, intermediate: 384, heads: 8, kvHeads: 8, headDim: 32 },
    ropeTheta: 1e6,
    maxPositions: 8192,
    seed: 7,
    lookBack: [1, 4, 1, 4, 2, 4, 2, 3],
    lr: 8e-4,
    stages: [
      { steps: 320, sequences: 32, length: 64, facts: [1, 3], wordsPerFact: [2, 4], otherShare: 0.3, jump: 0 },
      { steps: 240, sequences: 16, length: 128, facts: [2, 5], wordsPerFact: [3, 5], otherShare: 0.2, jump: 0 },
      { steps: 220, sequences: 10, length: 256, facts: [2, 8], wordsPerFact: [3, 6], otherShare: 0.2, jump: 2000 },
    ],
    evaluationLengths: [256, 512, 1024],
    evaluationPasskeys: [[5, 5]],
  },
};
