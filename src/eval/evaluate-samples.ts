// Rows for a samples file: every sample scored under every mask by the engine, each answer token predicted from the true
// prefix. Visibility is token-exact, so the numbers are those of a session that prefills up to each answer token.

import { toMaskGrid } from '../core/head-mask.ts';
import { countKvBytes } from '../core/kv-cost.ts';
import { streamingFractionOf } from '../core/masks.ts';
import { makeRandom } from '../core/random.ts';
import type { KvDtype } from '../core/session.ts';
import { type HeadMask, type Sample, supervisedPositions } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, ConfigError } from '../errors/errors.ts';
import { hashMask } from '../formats/mask-hash.ts';
import type { EvalRow } from '../formats/results.ts';
import { nameRow } from '../formats/row-origin.ts';
import type { NamedMask } from './baselines.ts';
import { measureMeanFootprint } from './footprint.ts';
import {
  bootstrapInterval,
  computeWeightedMean,
  computeWilsonInterval,
  countEffectiveSamples,
} from './metrics/confidence.ts';

/** One sample under one mask. */
export interface ScoredSample {
  /** share of answer tokens predicted right, 0..1 */
  readonly accuracy: number;
  /** mean natural-log probability of the answer tokens */
  readonly logProb: number;
  readonly answerTokens: number;
  readonly tokens: number;
}

/** Score samples under masks, mask by mask.
 * @param options.masks rows in this order.
 * @param options.kvDtype storage assumed for kvBytes, default 'f32', as engines have it.
 * @param options.onProgress evaluations done and in all.
 * @param options.onRow given each row when it is finished.  @param options.onScored and before it what it was made of, in the samples' order.
 * @returns a row per mask, task `samples`; accuracy and logProb are means over all answer tokens of all samples.
 * @throws {ConfigError} no samples, or a sample without answers; {AbortedError}; {EngineError}. */
export async function evaluateSamples(options: {
  readonly engine: Engine;
  readonly samples: readonly Sample[];
  readonly masks: readonly NamedMask[];
  readonly kvDtype?: KvDtype;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  readonly onRow?: (row: EvalRow) => void;
  readonly onScored?: (mask: string, scored: readonly ScoredSample[]) => void;
}): Promise<EvalRow[]> {
  const { engine, samples, masks, signal, onProgress } = options;
  if (samples.length === 0) throw new ConfigError('Expected at least one sample to evaluate, got none');
  const total = samples.length * masks.length;
  const rows: EvalRow[] = [];
  let done = 0;
  for (const named of masks) {
    const startMs = performance.now();
    const scored: ScoredSample[] = [];
    for (const [index, sample] of samples.entries()) {
      if (signal?.aborted) throw new AbortedError('The evaluation was stopped before its last sample.');
      const answerTokens = supervisedPositions(sample.answers, 'predict').length;
      if (answerTokens === 0) throw new ConfigError(`Expected sample ${index + 1} to have an answer range, got none`);
      const result = await engine.evaluate(sample, named.mask, signal === undefined ? {} : { signal });
      scored.push({ ...result, answerTokens, tokens: sample.tokens.length });
      onProgress?.(++done, total);
    }
    options.onScored?.(named.name, scored);
    const seconds = (performance.now() - startMs) / 1000;
    const row = makeSamplesRow({ engine, named, scored, seconds, kvDtype: options.kvDtype ?? 'f32' });
    rows.push(row);
    options.onRow?.(row);
  }
  return rows;
}

function makeSamplesRow(options: {
  readonly engine: Engine;
  readonly named: NamedMask;
  readonly scored: readonly ScoredSample[];
  readonly seconds: number;
  readonly kvDtype: KvDtype;
}): EvalRow {
  const { engine, named, scored, seconds, kvDtype } = options;
  const longest = Math.max(...scored.map((sample) => sample.tokens));
  const runs = scored.map((sample) => ({ promptTokens: sample.tokens, outputTokens: 0 }));
  const footprint = measureMeanFootprint(runs, named.mask);
  const kvBytes = (mask: HeadMask | 'full'): number =>
    countKvBytes({ model: engine.model, mask, tokens: longest, dtype: kvDtype, device: engine.device });
  return {
    task: 'samples',
    ...nameRow(named),
    maskHash: hashMask(named.mask),
    length: null,
    depth: null,
    samples: scored.length,
    measure: 'teacher-forced',
    ...summariseTeacherForced(scored),
    streamingFraction: named.mask === 'full' ? 0 : streamingFractionOf(toMaskGrid(named.mask)),
    kvBytes: kvBytes(named.mask),
    fullKvBytes: kvBytes('full'),
    kvDtype,
    footprint: footprint.integrated,
    peakFootprint: footprint.peak,
    prefill: 'exact',
    seconds,
  };
}

/** Means over answer tokens and their 95 % intervals over samples (the bootstrap's seed is fixed: same values, same interval). */
export function summariseTeacherForced(
  scored: readonly ScoredSample[],
): Pick<EvalRow, 'accuracy' | 'accuracyInterval' | 'logProb' | 'logProbInterval' | 'answerTokens'> {
  const weights = scored.map((sample) => sample.answerTokens);
  const logProbs = scored.map((sample) => sample.logProb);
  const accuracies = scored.map((sample) => sample.accuracy);
  const accuracy = Math.min(1, computeWeightedMean(accuracies, weights));
  return {
    accuracy,
    accuracyInterval: computeWilsonInterval(accuracy, countEffectiveSamples(weights)),
    logProb: computeWeightedMean(logProbs, weights),
    logProbInterval: bootstrapInterval(logProbs, { weights, random: makeRandom(0, 'bootstrap') }),
    answerTokens: weights.reduce((a, b) => a + b, 0),
  };
}
