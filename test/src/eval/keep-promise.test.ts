// The search on known curves, and its measures on the golden model: full attention keeps 1 of itself.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeHeadMask } from '../../../src/core/head-mask.ts';
import { filledGrid, type HeadMask } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { AbortedError } from '../../../src/errors/errors.ts';
import { type Kept, keepPromise, type WalkedMask } from '../../../src/eval/keep-promise.ts';
import { makeGainMeasure, makeRecallMeasure } from '../../../src/eval/kept-measures.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { GOLDEN_MODEL, goldenSamples, goldenWindow } from '../../train/quadratic/golden-run.ts';

/** n masks told apart by their window. */
const pathOf = (n: number) =>
  Array.from({ length: n }, (_, index) => ({
    kvShare: (index + 1) / (n + 1),
    mask: { sinkTokens: 0, windows: [[index + 1]] } as HeadMask,
  }));

const placeOf = (mask: HeadMask): number => (mask.windows[0]![0] as number) - 1;

const measureBy = (keptAt: (index: number) => number) => (mask: HeadMask) => {
  const value = keptAt(placeOf(mask));
  return Promise.resolve<Kept>({ value, interval: [value - 0.01, value + 0.01] });
};

describe('keepPromise', () => {
  it.each([1, 2, 7, 8, 33])('finds the first mask of %i that holds, wherever it is', async (n) => {
    for (let first = 0; first < n; first++) {
      const seen: WalkedMask[] = [];
      const { found, reason, walked } = await keepPromise({
        path: pathOf(n),
        promise: 0.9,
        measure: measureBy((index) => (index >= first ? 0.95 : 0.5)),
        onWalked: (look) => seen.push(look),
      });
      expect(found?.index).toBe(first);
      expect(found?.kvShare).toBe((first + 1) / (n + 1));
      expect(reason).toBeNull();
      expect(walked.length).toBeLessThanOrEqual(Math.ceil(Math.log2(n)) + 1);
      expect(seen).toEqual(walked);
    }
  });

  it('holds by the lower end of the interval, not by the value', async () => {
    const measure = measureBy((index) => 0.9 + index / 1000);
    const { found } = await keepPromise({ path: pathOf(32), promise: 0.9, measure });
    expect(found?.index).toBe(10);
    expect(found?.kept).toBeCloseTo(0.91, 12);
  });

  it('says why none holds, by the largest mask', async () => {
    const { found, reason, walked } = await keepPromise({
      path: pathOf(3),
      promise: 0.99,
      measure: measureBy(() => 0.9),
    });
    expect(found).toBeNull();
    expect(walked.map(({ index }) => index)).toEqual([1, 2]);
    expect(reason).toBe(
      'the largest mask that saves anything, 75.0 % of the cache, keeps 0.900, and the lower end of its interval, 0.8900, is below 0.99',
    );
    expect((await keepPromise({ path: [], promise: 0.5, measure: measureBy(() => 1) })).reason).toBe(
      'there is no mask that saves anything',
    );
  });

  it('stops at once where nothing can be told', async () => {
    let asked = 0;
    const measure = (): Promise<Kept> => {
      asked++;
      return Promise.resolve({ value: null, interval: null, reason: 'too little to measure: 2 texts' });
    };
    const { found, reason } = await keepPromise({ path: pathOf(9), promise: 0.9, measure });
    expect({ found, reason, asked }).toEqual({ found: null, reason: 'too little to measure: 2 texts', asked: 1 });
  });
});

describe('the measures', () => {
  let model: ModelFolder;
  let engine: Engine;
  beforeAll(async () => {
    model = openModelFolder(GOLDEN_MODEL);
    engine = await openTensorflowEngine(model, { backend: 'wasm' });
  });
  afterAll(async () => {
    await engine.close();
    model.close();
  });

  const samples = Array.from({ length: 8 }, (_, index) => goldenSamples[index % goldenSamples.length]!);
  const whole = (): HeadMask => makeHeadMask(filledGrid(2, 4, 1), goldenWindow);
  const streaming = (): HeadMask => makeHeadMask(filledGrid(2, 4, 0), goldenWindow);

  it('recall: a mask of whole heads keeps exactly 1, all streaming less, as evaluate says', {
    timeout: 120_000,
  }, async () => {
    const measure = makeRecallMeasure({ engine, samples });
    expect(await measure(whole())).toEqual({ value: 1, interval: [1, 1] });
    const { value } = await measure(streaming());
    expect(value).toBeLessThan(0.9);
    let [full, low] = [0, 0];
    for (const sample of samples) {
      const weight = sample.answers.length;
      full += weight * (await engine.evaluate(sample, 'full')).accuracy;
      low += weight * (await engine.evaluate(sample, streaming())).accuracy;
    }
    expect(value).toBeCloseTo(low / full, 6);
  });

  it('gain: says why there is too little, and stops when told', async () => {
    const texts = samples.slice(0, 2).map(({ tokens }) => tokens);
    const measure = makeGainMeasure({ engine, texts, window: goldenWindow });
    expect((await measure(streaming())).reason).toMatch(/^too little to measure: 2 texts/);
    const signal = AbortSignal.abort();
    await expect(makeGainMeasure({ engine, texts, window: goldenWindow, signal })(whole())).rejects.toThrow(
      AbortedError,
    );
    await expect(makeRecallMeasure({ engine, samples, signal })(whole())).rejects.toThrow(AbortedError);
  });
});
