// Measurements by a sketch: near the tangents' inner products with many vectors, exact with the residual, taken only where they are cheaper.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { filledGrid } from '../../../src/core/shapes.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { countQuadraticForwards, countSketchBytes } from '../../../train/quadratic/cost.ts';
import { identifyQuadratic } from '../../../train/quadratic/identify-quadratic.ts';
import { measureSample, type ProbingEngine, requireProbing } from '../../../train/quadratic/measure-sample.ts';
import { isSketched, sketchSample } from '../../../train/quadratic/sketch-sample.ts';
import { describeNative } from '../../reference/native-library.ts';
import { GOLDEN_MODEL, goldenLambda, goldenSamples, goldenWindow } from './golden-run.ts';

const HEADS = 8;
const MASK = [
  [1, 0, 1, 1],
  [1, 1, 0, 1],
];
const scratch = mkdtempSync(join(tmpdir(), 'duo-sketch-'));
afterAll(() => rmSync(scratch, { recursive: true }));

it('is taken around masks alone, and only where it is cheaper than probing the open heads', () => {
  const full = filledGrid(2, 4, 1);
  // 1 + 4·3/2 passes probed, 1 + 2m sketched
  expect(isSketched(full, { open: HEADS, kvHeads: 4, vectors: 2 })).toBe(true);
  expect(isSketched(full, { open: HEADS, kvHeads: 4, vectors: 3 })).toBe(false);
  expect(isSketched(full, { open: HEADS, kvHeads: 4, vectors: 0 })).toBe(false);
  // the residual is one vector more
  expect(isSketched(MASK, { open: 6, kvHeads: 4, vectors: 1 })).toBe(true);
  expect(isSketched(MASK, { open: 4, kvHeads: 4, vectors: 1 })).toBe(false);
  expect(isSketched(filledGrid(2, 4, 0.5), { open: HEADS, kvHeads: 4, vectors: 2 })).toBe(false);
});

it('lowers the counted passes where it is cheaper, and never raises them', () => {
  const shape = { layers: 32, kvHeads: 8, callsPerSample: 1, samples: 2, rounds: 1 };
  const probed = countQuadraticForwards(shape);
  expect(countQuadraticForwards({ ...shape, sketchVectors: 0 })).toBe(probed);
  expect(countQuadraticForwards({ ...shape, sketchVectors: 4096 })).toBe(probed);
  // the round's 1 + 132 passes become 33, those of the stage of 128 heads, 2 + 66, become 36
  expect(countQuadraticForwards({ ...shape, sketchVectors: 16 })).toBe(probed - 2 * (133 - 33 + 68 - 36));
});

it('counts what a sketch holds, on a GPU with the inputs of all layers', () => {
  const model = { layers: 32, heads: 32, headDim: 128, hidden: 4096 };
  const stream = 4 * 8192 * 4096;
  const sketch = { tokens: 8192, model, vectors: 4, windows: 3 };
  expect(countSketchBytes({ ...sketch, isGpu: false })).toBe(4 * stream);
  expect(countSketchBytes({ ...sketch, vectors: 4096, isGpu: false })).toBe(2 ** 30);
  expect(countSketchBytes({ ...sketch, isGpu: true })).toBe((4 * 1.5 + 32 + 3) * stream);
});

describeNative('sketchSample', () => {
  let engine: ProbingEngine;
  const open = { window: goldenWindow, supervise: 'predict' as const, scratchFolder: scratch };
  beforeAll(async () => {
    const folder = openModelFolder(GOLDEN_MODEL);
    engine = requireProbing(await openNativeEngine(folder));
    folder.close();
  });
  afterAll(() => engine.close());

  it.each([
    ['all heads full', filledGrid(2, 4, 1)],
    ['a mask', MASK],
  ])('around %s comes near the products of tangents, and meets those with the residual', async (_, gates) => {
    const heads = gates.flat().flatMap((gate, head) => (gate === 1 ? [head] : []));
    const exact = await measureSample(goldenSamples[0]!, gates, { ...open, engine, step: 'tangent', heads });
    const size = HEADS + 1;
    const pick = (gram: Float64Array, isLast: boolean): number[] =>
      Array.from(gram).filter((_, at) => (at % size === HEADS || at >= HEADS * size) === isLast);
    const distance = (a: number[], b: number[]): number =>
      Math.hypot(...a.map((value, at) => value - b[at]!)) / Math.hypot(...b);
    const sketched = await sketchSample(goldenSamples[0]!, gates, {
      ...{ ...open, engine, step: 'finite' },
      ...{ vectors: 1024, sampleIndex: 0 },
    });
    expect(distance(pick(sketched, false), pick(exact, false))).toBeLessThan(0.15);
    if (gates === MASK) expect(distance(pick(sketched, true), pick(exact, true))).toBeLessThan(0.02);
    else expect(pick(sketched, true).every((value) => value === 0)).toBe(true);
    for (const head of Array.from({ length: HEADS }, (_, index) => index).filter((index) => !heads.includes(index)))
      expect(Array.from(sketched.subarray(head * size, (head + 1) * size)).every((value) => value === 0)).toBe(true);
  });

  it('stands in a run for the probes of its first measurement, with the same bytes again', async () => {
    const run = async (name: string, vectors: number): Promise<{ bytes: string; probes: number }> => {
      let probes = 0;
      const counting = new Proxy(engine, {
        get(target, key) {
          const value: unknown = Reflect.get(target, key, target);
          if (key !== 'probe') return typeof value === 'function' ? value.bind(target) : value;
          return (...args: Parameters<ProbingEngine['probe']>) => {
            probes += args[1].end - args[1].begin;
            return target.probe(...args);
          };
        },
      });
      const result = await identifyQuadratic({
        settings: { samples: 2, rounds: 1, step: 'finite', lambda: goldenLambda, vectors },
        measure: { engine: counting, window: goldenWindow, supervise: 'predict', signal: undefined },
        sampleAt: (index) => goldenSamples[index]!,
        checkpointPath: join(scratch, `${name}.json`),
        identity: {},
      });
      return { bytes: JSON.stringify(result), probes };
    };
    const probed = await run('probed', 0);
    const sketched = await run('sketched', 2);
    expect(sketched.probes).toBe(probed.probes - 2 * HEADS);
    expect(sketched.bytes).not.toBe(probed.bytes);
    expect((await run('again', 2)).bytes).toBe(sketched.bytes);
  });
});
