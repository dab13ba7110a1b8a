// The task `long-range`: kept gain of each mask on held-out running text, a row per length and mask.

import { isDeepStrictEqual } from 'node:util';
import { listWindows, makeHeadMask, toMaskGrid } from '../core/head-mask.ts';
import { countKvBytes } from '../core/kv-cost.ts';
import { streamingFractionOf } from '../core/masks.ts';
import { filledGrid, type HeadMask, type Window } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, ConfigError } from '../errors/errors.ts';
import { hashMask } from '../formats/mask-hash.ts';
import type { EvalRow } from '../formats/results.ts';
import { nameRow } from '../formats/row-origin.ts';
import type { NamedMask } from './baselines.ts';
import { measureMeanFootprint } from './footprint.ts';
import { measureKeptGain, type TextLogProbs } from './metrics/kept-gain.ts';

export const LONG_RANGE_TASK = 'long-range';

/** Score texts under masks.
 * @param options.window of every head streaming, against which all masks are measured; default: the smallest window of the masks.
 * @param options.texts token ids, each at least 2.  @param options.length tokens asked for.
 * @returns a row per mask; `accuracy` is the kept gain within 0 to 1, `keptGain` the value itself, `logProb` the mean over all tokens.
 * @throws {ConfigError} an engine without log-probabilities by position, no mask that streams; {AbortedError}; {EngineError}. */
export async function evaluateLongRange(options: {
  readonly engine: Engine;
  readonly texts: readonly (readonly number[])[];
  readonly masks: readonly NamedMask[];
  readonly window?: Window;
  readonly length: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  readonly onRow?: (row: EvalRow) => void;
}): Promise<EvalRow[]> {
  const { engine, texts, masks, length, signal } = options;
  const score = engine.scoreTokens?.bind(engine);
  if (score === undefined)
    throw new ConfigError(`Expected an engine with log-probabilities by position, got ${engine.name}`);
  const streaming = options.window ? streamAll(engine, options.window) : makeStreaming(engine, masks);
  const known = (mask: HeadMask | 'full'): boolean => mask === 'full' || isDeepStrictEqual(mask, streaming);
  const total = texts.length * (masks.filter(({ mask }) => !known(mask)).length + 2);
  let done = 0;
  const scoreAll = async (mask: HeadMask | 'full'): Promise<Float32Array[]> => {
    const scored: Float32Array[] = [];
    for (const text of texts) {
      if (signal?.aborted) throw new AbortedError('The evaluation was stopped before its last text.');
      scored.push(await score(text, mask, signal === undefined ? {} : { signal }));
      options.onProgress?.(++done, total);
    }
    return scored;
  };
  const full = await scoreAll('full');
  const low = await scoreAll(streaming);
  const rows: EvalRow[] = [];
  for (const named of masks) {
    const startMs = performance.now();
    const own = known(named.mask) ? (named.mask === 'full' ? full : low) : await scoreAll(named.mask);
    const seconds = (performance.now() - startMs) / 1000;
    const logProbs = texts.map((_, index): TextLogProbs => {
      const at = (all: readonly Float32Array[]): Float32Array => all[index] as Float32Array;
      return { full: at(full), streaming: at(low), mask: at(own) };
    });
    const row = makeRow({ engine, named, length, logProbs, seconds });
    rows.push(row);
    options.onRow?.(row);
  }
  return rows;
}

/** All heads streaming: sinks and the smallest window of the first mask that has one. */
function makeStreaming(engine: Engine, masks: readonly NamedMask[]): HeadMask {
  for (const { mask } of masks) {
    const recentTokens = mask === 'full' ? undefined : listWindows(mask)[0];
    if (mask === 'full' || recentTokens === undefined) continue;
    return streamAll(engine, { sinkTokens: mask.sinkTokens, recentTokens });
  }
  throw new ConfigError(
    `Expected a mask with a streaming head for task ${LONG_RANGE_TASK}, got none; give --mask or --gates`,
  );
}

function streamAll({ model }: Engine, window: Window): HeadMask {
  return makeHeadMask(filledGrid(model.layers, model.kvHeads, 0), window);
}

function makeRow(parts: {
  readonly engine: Engine;
  readonly named: NamedMask;
  readonly length: number;
  readonly logProbs: readonly TextLogProbs[];
  readonly seconds: number;
}): EvalRow {
  const { engine, named, length, logProbs, seconds } = parts;
  const { mask } = named;
  const found = measureKeptGain(logProbs);
  const clamp = (value: number): number => Math.min(1, Math.max(0, value));
  const accuracy = clamp(found.keptGain ?? 0);
  const [low, high] = found.interval ?? [0, 1];
  const footprint = measureMeanFootprint(
    logProbs.map((text) => ({ promptTokens: text.full.length + 1, outputTokens: 0 })),
    mask,
  );
  const kvBytes = (of: HeadMask | 'full'): number =>
    countKvBytes({ model: engine.model, mask: of, tokens: length, dtype: 'f32' });
  return {
    task: LONG_RANGE_TASK,
    ...nameRow(named),
    maskHash: hashMask(mask),
    length,
    depth: null,
    samples: logProbs.length,
    measure: 'teacher-forced',
    accuracy,
    accuracyInterval: [clamp(low), clamp(high)],
    logProb: -found.loss,
    logProbInterval: null,
    answerTokens: found.longRangeTokens,
    streamingFraction: mask === 'full' ? 0 : streamingFractionOf(toMaskGrid(mask)),
    kvBytes: kvBytes(mask),
    fullKvBytes: kvBytes('full'),
    kvDtype: 'f32',
    footprint: footprint.integrated,
    peakFootprint: footprint.peak,
    prefill: 'exact',
    seconds,
    metric: 'kept-gain',
    keptGain: found.keptGain,
    keptGainInterval: found.interval,
    loss: found.loss,
    fullLoss: found.fullLoss,
    ...(found.reason === undefined ? {} : { note: found.reason }),
  };
}
