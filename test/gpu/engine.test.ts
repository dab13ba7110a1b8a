// The native engine on cuda:0 against the same engine on the CPU: loss, gate gradient, quadratic, evaluation, greedy text.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHeadMask } from '../../src/core/head-mask.ts';
import { makeRandom } from '../../src/core/random.ts';
import { type GateGrid, type HeadMask, type Sample, supervisedPositions, type Window } from '../../src/core/shapes.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { openNativeEngine } from '../../src/engine/native/native-engine.ts';
import { openModelFolder } from '../../src/model/folder.ts';
import { drawSigns } from '../../train/quadratic/draw-signs.ts';
import { measureSample, requireProbing } from '../../train/quadratic/measure-sample.ts';
import { DEVICE, describeGpu, IS_EMULATED } from './device.ts';

/** The emulation takes the tiny model; a GPU the demo, which truly has retrieval heads. */
const MODEL = IS_EMULATED ? 'test/models/tiny' : 'models/demo';
const TOKENS = IS_EMULATED ? 90 : 1500;
const WINDOW: Window = { sinkTokens: 8, recentTokens: 24 };
/** bf16 between operations on the GPU against fp32 on the CPU: 2^-9 at each of some ten roundings per layer; twice that for gradients. */
const TOLERANCE = 3e-2;

describeGpu('engine on the GPU', () => {
  let cpu: Engine;
  let gpu: Engine;
  let sample: Sample;
  beforeAll(async () => {
    const folder = openModelFolder(MODEL);
    cpu = await openNativeEngine(folder, { device: 'cpu' });
    gpu = await openNativeEngine(folder, { device: DEVICE });
    folder.close();
    const tokens = Array.from({ length: TOKENS }, (_, index) => 3 + ((index * 7919) % (cpu.model.vocab - 3)));
    sample = {
      tokens,
      answers: [
        [TOKENS - 9, TOKENS - 6],
        [TOKENS - 4, TOKENS],
      ],
    };
  });
  afterAll(async () => {
    await cpu?.close();
    await gpu?.close();
  });

  test('distills as the CPU does, twice the same bits', async () => {
    const gates: GateGrid = Array.from({ length: cpu.model.layers }, (_, layer) =>
      Array.from({ length: cpu.model.kvHeads }, (_, head) => ((layer + head) % 3) / 2),
    );
    for (const window of [WINDOW, makeLadder(cpu)]) {
      const expected = await cpu.distill(sample, gates, window);
      const found = await gpu.distill(sample, gates, window);
      expect(Math.abs(found.loss - expected.loss) / expected.loss).toBeLessThan(2 * TOLERANCE);
      expect(relativeError(found.gradient.flat(), expected.gradient.flat())).toBeLessThan(2 * TOLERANCE);
      expect(await gpu.distill(sample, gates, window)).toEqual(found);
    }
  });

  test('sketches a ladder as the CPU does, twice the same bits', { timeout: 120_000 }, async () => {
    const length = supervisedPositions(sample.answers, 'predict').length * cpu.model.hidden;
    const vectors = drawSigns(makeRandom(1, 'sketch'), 2 * length);
    const request = { vectors, windows: [12, 24, 2 * TOKENS], sinkTokens: WINDOW.sinkTokens };
    const expected = await cpu.sketch!(sample, request);
    const found = await gpu.sketch!(sample, request);
    expect(relativeError(Array.from(found), Array.from(expected))).toBeLessThan(TOLERANCE);
    expect(await gpu.sketch!(sample, request)).toEqual(found);
  });

  test('takes the memory of full heads as the text grows, and a fork shares it', async () => {
    const mask = makeHeadMask(
      Array.from({ length: gpu.model.layers }, (_, layer) =>
        Array.from({ length: gpu.model.kvHeads }, (_, head) => (layer + head) % 2),
      ),
      WINDOW,
    );
    const session = await gpu.openSession(mask, { maxTokens: 100_000, kvDtype: 'bf16' });
    const opened = session.held?.().kvBytes as number;
    expect(opened).toBeLessThan(session.memory().kvBytes / 100);
    await session.prefill(sample.tokens.slice(0, 80));
    const filled = session.held?.().kvBytes as number;
    expect(filled).toBeGreaterThan(opened);
    const fork = await session.fork();
    expect(fork.held?.()).toMatchObject({ kvBytes: filled, sharedBytes: filled - opened });
    expect(await fork.decode(5)).toEqual(await session.decode(5));
    expect(session.held?.()).toMatchObject({ kvBytes: filled, sharedBytes: 0 });
    await fork.close();
    await session.close();
  });

  test('multiplies differences to the bits of the CPU', async () => {
    const random = makeRandom(1, 'gram');
    for (const [rows, others, length] of [
      [1, 1, 7],
      [17, 3, 1025],
      [33, 33, 300],
    ] as const) {
      const [a, b] = [rows, others].map((count) =>
        // sizes far apart, so that fp64 sums are rounded and their order shows
        Float32Array.from({ length: count * length }, () => (random.uniform() - 0.5) * 2 ** random.integer(24)),
      ) as [Float32Array, Float32Array];
      const options = { length, scale: 1 / length };
      expect(await gpu.multiplyGram!(a, b, options)).toEqual(await cpu.multiplyGram!(a, b, options));
      expect(await gpu.multiplyGram!(a, a, options)).toEqual(await cpu.multiplyGram!(a, a, options));
    }
  });

  test('measures the quadratic as the CPU does', { timeout: 120_000 }, async () => {
    const full = gridOf(cpu, () => 1);
    for (const distance of ['hidden', 'kl'] as const) {
      const measure = (engine: Engine): Promise<Float64Array> =>
        measureSample(sample, full, {
          engine: requireProbing(engine),
          window: WINDOW,
          supervise: 'predict',
          step: 'finite',
          distance,
          scratchFolder: '/nowhere',
        });
      const found = await measure(gpu);
      const worst = relativeError(found, await measure(cpu));
      // A difference has the rounding of two states, a product that of two differences.
      console.log(`tolerance used: quadratic, ${distance} ${((100 * worst) / (4 * TOLERANCE)).toFixed(0)} %`);
      expect(worst).toBeLessThan(4 * TOLERANCE);
      expect(await measure(gpu)).toEqual(found);
    }
  });

  test('scores answers as the CPU does', async () => {
    const mask = makeHeadMask(
      gridOf(cpu, (layer, head) => (layer + head) % 2),
      WINDOW,
    );
    for (const given of ['full', mask, makeLadder(cpu)] as const) {
      const expected = await cpu.evaluate(sample, given);
      const found = await gpu.evaluate(sample, given);
      expect(Math.abs(found.logProb - expected.logProb)).toBeLessThan(
        TOLERANCE * Math.max(1, Math.abs(expected.logProb)),
      );
    }
  });

  test.each(['one window', 'windows by head'])(
    'writes the same greedy text, %s, until the two best logits are closer than the tolerance',
    async (kind) => {
      const grid = gridOf(cpu, (layer, head) => (layer + head) % 2);
      const mask = kind === 'one window' ? makeHeadMask(grid, WINDOW) : makeLadder(cpu);
      const options = { maxTokens: TOKENS + 20, kvDtype: 'bf16' } as const;
      const sessions = [await cpu.openSession(mask, options), await gpu.openSession(mask, options)];
      let logits = await Promise.all(sessions.map((session) => session.prefill(sample.tokens)));
      for (let step = 0; step < 16; step++) {
        const [expected, found] = logits as [Float32Array, Float32Array];
        expect(relativeError(found, expected)).toBeLessThan(TOLERANCE);
        const best = expected.indexOf(Math.max(...expected));
        const second = Math.max(...expected.filter((_, index) => index !== best));
        const margin = ((expected[best] as number) - second) / Math.max(...expected.map(Math.abs));
        if (margin > 2 * TOLERANCE) expect(found.indexOf(Math.max(...found))).toBe(best);
        logits = await Promise.all(sessions.map((session) => session.decode(best)));
      }
      for (const session of sessions) await session.close();
    },
  );
});

/** Heads of the whole context, and of windows of 24, 48 and 96 tokens, by turns. */
function makeLadder(engine: Engine): HeadMask {
  const { layers, kvHeads } = engine.model;
  const heads = Array.from({ length: layers * kvHeads }, (_, head) => (head % 4 === 3 ? null : 24 << (head % 4)));
  const windows = Array.from({ length: layers }, (_, layer) => heads.slice(layer * kvHeads, (layer + 1) * kvHeads));
  return { sinkTokens: WINDOW.sinkTokens, windows };
}

function gridOf(engine: Engine, value: (layer: number, head: number) => number): number[][] {
  const { layers, kvHeads } = engine.model;
  return Array.from({ length: layers }, (_, layer) => Array.from({ length: kvHeads }, (_, head) => value(layer, head)));
}

/** max|a−b| / max|b| */
function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  let largest = 0;
  for (let index = 0; index < b.length; index++) {
    worst = Math.max(worst, Math.abs((a[index] as number) - (b[index] as number)));
    largest = Math.max(largest, Math.abs(b[index] as number));
  }
  return worst / largest;
}
