// What a mask keeps of full attention on held-out samples, for `keepPromise`: recall of answers, or kept gain on running text.
// Full attention, and every head streaming, are scored once and kept.
import { makeHeadMask } from '../core/head-mask.ts';
import { filledGrid, type HeadMask, type Sample, supervisedPositions, type Window } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, ConfigError } from '../errors/errors.ts';
import type { Kept } from './keep-promise.ts';
import { measureKeptGain } from './metrics/kept-gain.ts';
import { measureKeptRecall } from './metrics/kept-recall.ts';

export type MeasureKept = (mask: HeadMask) => Promise<Kept>;

/** Answer tokens right over those of full attention, each predicted from the true prefix.
 * @throws {ConfigError} a sample without answers. The measure: {AbortedError}; {EngineError}. */
export function makeRecallMeasure(options: {
  readonly engine: Engine;
  readonly samples: readonly Sample[];
  readonly signal?: AbortSignal | undefined;
}): MeasureKept {
  const { engine, samples, signal } = options;
  const counts = samples.map((sample, index) => {
    const count = supervisedPositions(sample.answers, 'predict').length;
    if (count === 0) throw new ConfigError(`Expected sample ${index + 1} to have an answer range, got none`);
    return count;
  });
  const countRight = async (mask: HeadMask | 'full'): Promise<number[]> => {
    const right: number[] = [];
    for (const [index, sample] of samples.entries()) {
      checkSignal(signal);
      const { accuracy } = await engine.evaluate(sample, mask, signal ? { signal } : {});
      right.push(Math.round(accuracy * (counts[index] as number)));
    }
    return right;
  };
  let full: Promise<number[]> | null = null;
  return async (mask) => {
    full ??= countRight('full');
    const all = await full;
    const own = await countRight(mask);
    return measureKeptRecall(all.map((right, index) => ({ full: right, mask: own[index] as number })));
  };
}

/** Kept gain (metrics/kept-gain.ts) on running text.
 * @param options.texts token ids, each at least 2.  @param options.window of "every head streaming", the same for every mask.
 * @throws {ConfigError} an engine without log-probabilities by position. The measure: {AbortedError}; {EngineError}. */
export function makeGainMeasure(options: {
  readonly engine: Engine;
  readonly texts: readonly (readonly number[])[];
  readonly window: Window;
  readonly signal?: AbortSignal | undefined;
}): MeasureKept {
  const { engine, texts, window, signal } = options;
  const score = engine.scoreTokens?.bind(engine);
  if (score === undefined) {
    throw new ConfigError(`Expected an engine with log-probabilities by position, got ${engine.name}`);
  }
  const scoreAll = async (mask: HeadMask | 'full'): Promise<Float32Array[]> => {
    const scored: Float32Array[] = [];
    for (const text of texts) {
      checkSignal(signal);
      scored.push(await score(text, mask, signal ? { signal } : {}));
    }
    return scored;
  };
  const { layers, kvHeads } = engine.model;
  const streaming = makeHeadMask(filledGrid(layers, kvHeads, 0), window);
  let ends: Promise<[Float32Array[], Float32Array[]]> | null = null;
  return async (mask) => {
    ends ??= scoreAll('full').then(async (full) => [full, await scoreAll(streaming)]);
    const [full, low] = await ends;
    const own = await scoreAll(mask);
    const { keptGain, interval, reason } = measureKeptGain(
      own.map((values, index) => ({
        full: full[index] as Float32Array,
        streaming: low[index] as Float32Array,
        mask: values,
      })),
    );
    return { value: keptGain, interval, ...(reason === undefined ? {} : { reason }) };
  };
}

function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('The search for a budget was stopped before its last sample.');
}
