// Accuracy and log-probability of a sample's answer tokens, each predicted from the true prefix (docs/semantics.md, 3).
import { toMaskGrid } from '../../core/head-mask.ts';
import { argmax } from '../../core/numbers.ts';
import { type HeadMask, type Sample, supervisedPositions } from '../../core/shapes.ts';
import { EngineError } from '../../errors/errors.ts';
import { computeLogits } from '../../model/transformer/forward.ts';
import type { Transformer } from '../../model/transformer/transformer.ts';
import type { EvaluateResult } from '../engine.ts';

/** One forward pass; logits only where the next token is an answer token. An answer token in two ranges counts once.
 * @throws {EngineError} a logit is not a number; {AbortedError}. */
export async function evaluateSample(
  transformer: Transformer,
  sample: Sample,
  options: { mask: HeadMask | 'full'; signal?: AbortSignal | undefined },
): Promise<EvaluateResult> {
  const { logProbs, numRight } = await scorePositions(transformer, sample, options);
  let logProb = 0;
  for (const value of logProbs) logProb += value;
  return { accuracy: numRight / logProbs.length, logProb: logProb / logProbs.length };
}

/** Log-probability of each answer token from the true prefix, and how many are the greedy prediction. Errors as evaluateSample. */
export async function scorePositions(
  transformer: Transformer,
  sample: Sample,
  options: { mask: HeadMask | 'full'; signal?: AbortSignal | undefined },
): Promise<{ logProbs: Float64Array; numRight: number }> {
  const { mask, signal } = options;
  const positions = supervisedPositions(sample.answers, 'predict');
  const branches = mask === 'full' ? { gates: null, window: null } : { gates: toMaskGrid(mask), window: mask };
  const logits = await computeLogits(transformer, sample.tokens, { ...branches, positions, signal });
  const { vocab } = transformer.config.shape;
  const logProbs = new Float64Array(positions.length);
  let numRight = 0;
  positions.forEach((position, index) => {
    const row = logits.subarray(index * vocab, (index + 1) * vocab);
    const answer = sample.tokens[position + 1] as number;
    const { best, logSum } = summarizeLogits(row);
    if (!Number.isFinite(logSum)) {
      throw new EngineError(
        `Expected finite logits at position ${position}, got a value that is not a number; check the model's weights`,
      );
    }
    if (best === answer) numRight++;
    logProbs[index] = (row[answer] as number) - logSum;
  });
  return { logProbs, numRight };
}

/** Index of the largest logit (the lowest index on a tie) and the logarithm of the sum of exponentials. */
function summarizeLogits(logits: Float32Array): { best: number; logSum: number } {
  const best = argmax(logits);
  const top = logits[best]!;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - top);
  return { best, logSum: top + Math.log(sum) };
}
