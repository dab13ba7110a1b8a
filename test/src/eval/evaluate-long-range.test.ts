// Task long-range on the golden model: both engines agree, full attention keeps everything, and what is missing is said.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { evaluateLongRange } from '../../../src/eval/evaluate-long-range.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { describeNative } from '../../reference/native-library.ts';
import { GOLDEN_FOLDER, MIXED } from './golden-prompts.ts';

let model: ModelFolder;
let engine: Engine;
beforeAll(async () => {
  model = openModelFolder(GOLDEN_FOLDER);
  engine = await openTensorflowEngine(model);
});
afterAll(async () => {
  await engine.close();
  model.close();
});

const makeTexts = (count: number): number[][] =>
  Array.from({ length: count }, (_, text) =>
    Array.from({ length: 40 }, (_, index) => (index * 37 + text * 11 + 3) % engine.model.vocab),
  );

describe('evaluateLongRange', () => {
  it('gives a row per mask, with the loss over all tokens and why there is no kept gain', async () => {
    const masks = [
      { name: 'full', mask: 'full' as const },
      { name: 'mixed', mask: MIXED },
    ];
    const [full, mixed] = await evaluateLongRange({ engine, texts: makeTexts(2), masks, length: 40 });
    expect(full).toMatchObject({ task: 'long-range', mask: 'full', keptGain: null, metric: 'kept-gain', samples: 2 });
    expect(full?.note).toMatch(/^too little to measure: 2 texts/);
    expect(full?.loss).toBe(full?.fullLoss);
    expect(mixed?.loss).not.toBe(full?.loss);
    expect(mixed?.fullLoss).toBe(full?.fullLoss);
  });

  it('wants a mask that streams', async () => {
    const masks = [{ name: 'full', mask: 'full' as const }];
    await expect(evaluateLongRange({ engine, texts: makeTexts(1), masks, length: 40 })).rejects.toThrow('--mask');
  });

  it('scores the same tokens as evaluate', async () => {
    const [tokens] = makeTexts(1) as [number[]];
    const scored = (await engine.scoreTokens?.(tokens, MIXED)) as Float32Array;
    expect(scored).toHaveLength(39);
    const { logProb } = await engine.evaluate({ tokens, answers: [[1, 40]] }, MIXED);
    expect(scored.reduce((sum, value) => sum + value, 0) / 39).toBeCloseTo(logProb, 5);
  });
});

describeNative('the native engine', () => {
  it('agrees token by token', async () => {
    const native = await openNativeEngine(model, { device: 'cpu' });
    try {
      const [tokens] = makeTexts(1) as [number[]];
      const expected = (await engine.scoreTokens?.(tokens, MIXED)) as Float32Array;
      const found = (await native.scoreTokens?.(tokens, MIXED)) as Float32Array;
      for (const [index, value] of expected.entries()) expect(found[index]).toBeCloseTo(value, 3);
    } finally {
      await native.close();
    }
  });
});
