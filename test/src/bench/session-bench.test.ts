import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ContextFigures, compareMasks, measureContext } from '../../../src/bench/session-bench.ts';
import { checkSessions, measureDisagreement } from '../../../src/bench/session-checks.ts';
import type { Session } from '../../../src/core/session.ts';
import type { HeadMask } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { NativeError } from '../../../src/errors/errors.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';

function figures(prefillSeconds: number | null, stepSeconds: number[], kvBytes: number): ContextFigures {
  return { prefillSeconds, stepSeconds, batch: 1, kvBytes, fullKvBytes: 1000, workspaceBytes: 0 };
}

describe('compareMasks', () => {
  it('takes the median of paired ratios', () => {
    const full = figures(6, [4, 40, 4], 1000);
    const masked = figures(3, [2, 20, 4], 500);
    const comparison = compareMasks({ full, masked }, { full: 200, masked: 100 });
    expect(comparison).toEqual({
      prefillSpeedup: 2,
      decodeSpeedup: 2,
      kvShare: 0.5,
      readShare: 0.5,
      savingShare: 1,
    });
  });

  it('counts tokens where batches differ', () => {
    const full = { ...figures(null, [4], 1000), batch: 2 };
    const masked = { ...figures(null, [5], 500), batch: 5 };
    const { decodeSpeedup, readShare } = compareMasks({ full, masked }, { full: 200, masked: 250 });
    expect(decodeSpeedup).toBeCloseTo(2, 12);
    expect(readShare).toBeCloseTo(0.5, 12);
  });

  it('has no prefill ratio for filled caches, and no saving where no byte is saved', () => {
    const side = figures(null, [1], 1000);
    const comparison = compareMasks({ full: side, masked: side }, { full: 10, masked: 10 });
    expect(comparison).toMatchObject({ prefillSpeedup: null, savingShare: null });
  });
});

describe('measureContext and checkSessions', () => {
  let engine: Engine;
  let folder: ModelFolder;
  const mask = { sinkTokens: 2, windows: [Array(4).fill(null), Array(4).fill(4)] };
  beforeAll(async () => {
    folder = openModelFolder('test/golden/mha-2l');
    engine = await openTensorflowEngine(folder, { backend: 'cpu' });
  });
  afterAll(async () => {
    await engine.close();
    folder.close();
  });

  it('measures a batch on sessions of its own', async () => {
    const options = { context: 10, kvDtype: 'f32', steps: 3, batch: 2, seed: 1 } as const;
    const found = await measureContext(engine, {
      ...options,
      masks: { full: 'full', masked: mask },
      feedsContext: true,
    });
    expect(found.full.stepSeconds).toHaveLength(3);
    expect(found.full.batch).toBe(2);
    // 8 heads × (10 + 2 + 3) slots × 2 × 32 values × 4 bytes
    expect(found.full.kvBytes).toBe(8 * 15 * 256);
    expect(found.masked.kvBytes).toBe((4 * 15 + 4 * 6) * 256);
  });

  it('takes as many texts as the device holds', async () => {
    const native = await openNativeEngine(folder, { device: 'cpu' });
    const noMemory = (): never => {
      throw new NativeError('Expected device memory for a text, found none', 'MEMORY');
    };
    let opened = 0;
    // A device of three sessions, of which a step has room for two.
    const small: Engine = Object.assign(Object.create(native), {
      model: native.model,
      openSession: (...given: Parameters<Engine['openSession']>) =>
        opened++ < 3 ? native.openSession(...given) : noMemory(),
      decodeBatch: async (sessions: Session[], tokens: number[], into?: Float32Array[]) =>
        sessions.length > 2 ? noMemory() : native.decodeBatch?.(sessions, tokens, into),
    });
    const options = { context: 10, kvDtype: 'f32', steps: 2, batch: 'most', seed: 1, feedsContext: false } as const;
    const found = await measureContext(small, { ...options, masks: { masked: mask } });
    expect(found.masked.batch).toBe(2);
    expect(found.masked.stepSeconds).toHaveLength(2);
    await native.close();
  });

  it('says so where the engine cannot fill caches', async () => {
    const options = { context: 10, kvDtype: 'f32', steps: 1, batch: 1, seed: 1 } as const;
    const measuring = measureContext(engine, {
      ...options,
      masks: { full: 'full', masked: mask },
      feedsContext: false,
    });
    await expect(measuring).rejects.toThrow('Expected an engine that fills caches directly');
  });

  it('finds the laws holding on a right engine, and broken on a wrong one', async () => {
    const checks = await checkSessions(engine, { mask, kvDtype: 'f32' });
    expect(checks.map(({ holds }) => holds)).toEqual([true, true, true, true, true]);
    const wrong: Engine = Object.assign(Object.create(engine), {
      model: engine.model,
      // Forgets the mask, but not where every head is asked to be full.
      openSession: (heads: typeof mask | 'full', options: Parameters<Engine['openSession']>[1]) =>
        engine.openSession(options.chunkTokens === 7 ? 'full' : heads, options),
    });
    const broken = await checkSessions(wrong, { mask, kvDtype: 'f32' });
    expect(broken.find(({ holds }) => !holds)?.law).toBe('prefill in chunks of 7 equals one shot');
  });

  it('checks windows that differ from head to head as different ones', async () => {
    const ladder: HeadMask = { sinkTokens: 2, windows: [Array(4).fill(null), [4096, 256, 256, 1024]] };
    const checks = await checkSessions(engine, { mask: ladder, kvDtype: 'f32' });
    expect(checks.map(({ holds }) => holds)).toEqual([true, true, true, true, true]);
    const swapped = ({ sinkTokens, windows }: HeadMask): HeadMask => ({ sinkTokens, windows: [...windows].reverse() });
    const levelled = ({ sinkTokens, windows }: HeadMask): HeadMask => ({
      sinkTokens,
      windows: windows.map((row) => row.map((window) => window && 8)),
    });
    for (const change of [swapped, levelled]) {
      const wrong: Engine = Object.assign(Object.create(engine), {
        model: engine.model,
        openSession: (heads: HeadMask | 'full', options: Parameters<Engine['openSession']>[1]) =>
          engine.openSession(options.chunkTokens === 7 && heads !== 'full' ? change(heads) : heads, options),
      });
      const broken = await checkSessions(wrong, { mask: ladder, kvDtype: 'f32' });
      expect(broken.find(({ holds }) => !holds)?.law).toBe('prefill in chunks of 7 equals one shot');
    }
  });
});

describe('measureDisagreement', () => {
  it('is the largest difference over the largest value', () => {
    expect(measureDisagreement(new Float32Array([1, 2]), new Float32Array([1, 4]))).toBe(0.5);
  });
});
