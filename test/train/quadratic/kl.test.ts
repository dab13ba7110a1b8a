// The quadratic method by KL divergence on the golden model: its loss with every head streaming is the divergence of the distributions themselves,
// the ladder and its sketch measure the same, both objectives count alike, and a run resumes to the same bytes.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { filledGrid, type Sample } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { AbortedError } from '../../../src/errors/errors.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { quadraticMethod } from '../../../train/methods/quadratic.ts';
import { identifyQuadratic, type QuadraticResult } from '../../../train/quadratic/identify-quadratic.ts';
import { measureLadder } from '../../../train/quadratic/measure-ladder.ts';
import { measureLoss, measureSample, requireProbing } from '../../../train/quadratic/measure-sample.ts';
import { measureRounding } from '../../../train/quadratic/noise.ts';
import type { QuadraticOptions } from '../../../train/quadratic/run.ts';
import { sketchLadder } from '../../../train/quadratic/sketch-ladder.ts';
import { describeNative } from '../../reference/native-library.ts';
import { GOLDEN_MODEL, goldenLambda, goldenSamples, goldenWindow } from './golden-run.ts';

const HEADS = 8;
const folder = openModelFolder(GOLDEN_MODEL);
const scratch = mkdtempSync(join(tmpdir(), 'duo-kl-'));
const sample = goldenSamples[0] as Sample;
const long: Sample = { ...(goldenSamples[1] as Sample), objective: 'long-range' };
const supervise = 'predict' as const;
afterAll(() => {
  folder.close();
  rmSync(scratch, { recursive: true });
});

describeNative('KL divergences of the quadratic method', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await openNativeEngine(folder);
  });
  afterAll(() => engine.close());

  const common = (distance: 'hidden' | 'kl') => ({
    ...{ engine: requireProbing(engine), window: goldenWindow, supervise, distance, step: 'tangent' as const },
    scratchFolder: join(scratch, 'blocks'),
  });

  it('the loss with every head streaming is the divergence of the distributions, and heads have effects of their own', async () => {
    const streaming = filledGrid(2, 4, 0);
    const { loss } = await engine.distill(sample, streaming, goldenWindow, { distance: 'kl' });
    expect((await measureLoss(sample, streaming, common('kl'))) / loss).toBeCloseTo(1, 4);
    const gram = await measureSample(sample, filledGrid(2, 4, 1), common('kl'));
    const other = await measureSample(sample, filledGrid(2, 4, 1), common('hidden'));
    for (let head = 0; head < HEADS; head++) expect(gram[head * (HEADS + 2)]).toBeGreaterThan(0);
    expect(gram).not.toEqual(other);
  });

  it('blocks on disk, the ladder and a measurement of one window agree to the bit', async () => {
    const full = filledGrid(2, 4, 1);
    const finite = { ...common('kl'), step: 'finite' as const };
    const whole = await measureSample(sample, full, finite);
    const limits = { blockBytes: 1, memoryBytes: 0 };
    expect(await measureSample(sample, full, { ...finite, limits })).toEqual(whole);
    const { sinkTokens, recentTokens } = goldenWindow;
    const ladder = await measureLadder(sample, { ...finite, sinkTokens, windows: [recentTokens] });
    for (let row = 0; row < HEADS; row++) {
      for (let column = 0; column <= row; column++)
        expect(ladder[(row * (row + 1)) / 2 + column]).toBe(whole[row * (HEADS + 1) + column]);
    }
  });

  it('a sketch of many vectors estimates the tangents by KL', async () => {
    const { sinkTokens, recentTokens } = goldenWindow;
    const gram = await measureSample(sample, filledGrid(2, 4, 1), common('kl'));
    const options = { ...common('kl'), sinkTokens, windows: [recentTokens], vectors: 512, sampleIndex: 0 };
    const sketch = await sketchLadder(sample, options);
    for (let head = 0; head < HEADS; head++) {
      const ratio = (sketch[((head + 1) * (head + 2)) / 2 - 1] as number) / (gram[head * (HEADS + 2)] as number);
      expect(Math.abs(ratio - 1)).toBeLessThan(0.35);
    }
  });

  it('the noise floor is a divergence', async () => {
    const probing = requireProbing(engine);
    const floor = (await measureRounding(sample, { engine: probing, distance: 'kl' })) as number;
    expect(floor).toBeGreaterThan(0);
    expect(floor).toBeLessThan(1e-9);
    expect(floor).not.toBe(await measureRounding(sample, { engine: probing }));
  });

  function runOptions(changes: Partial<QuadraticOptions> = {}): QuadraticOptions {
    return {
      settings: {
        ...{ samples: 3, rounds: 2, step: 'finite', distance: 'auto', lambda: goldenLambda },
        windows: [goldenWindow.recentTokens, 2 * goldenWindow.recentTokens],
      },
      measure: { engine: requireProbing(engine), window: goldenWindow, supervise, signal: undefined },
      sampleAt: (index) => [sample, long, goldenSamples[2] as Sample][index] as Sample,
      checkpointPath: join(mkdtempSync(join(scratch, 'run-')), 'checkpoint.json'),
      identity: { test: 'kl' },
      ...changes,
    };
  }

  it('auto measures long-range samples by KL and brings them to the trace of the others', async () => {
    const found = await identifyQuadratic(runOptions());
    const measure = (of: Sample, distance: 'hidden' | 'kl') =>
      measureSample(of, filledGrid(2, 4, 1), { ...common(distance), step: 'finite' });
    const [first, other, third] = [
      await measure(sample, 'hidden'),
      await measure(long, 'kl'),
      await measure(goldenSamples[2] as Sample, 'hidden'),
    ];
    const own = first.map((value, index) => (value + (third[index] as number)) / 2);
    const traceOf = (gram: Float64Array): number =>
      Array.from({ length: HEADS }, (_, head) => gram[head * (HEADS + 2)] as number).reduce(
        (sum, value) => sum + value,
      );
    expect(found.balance).toBeCloseTo(traceOf(own) / traceOf(other), 10);
    for (let head = 0; head < HEADS; head++) {
      const at = head * (HEADS + 2);
      expect(found.effects[head]).toBeCloseTo(((own[at] as number) + found.balance * (other[at] as number)) / 2, 10);
    }
    expect(found.ladder?.effects.flat().every(Number.isFinite)).toBe(true);
  });

  it('resumes to the same bytes wherever it was stopped', async () => {
    const whole = await identifyQuadratic(runOptions());
    const options = runOptions();
    for (let calls = 1; ; calls += 3) {
      const controller = new AbortController();
      let seen = 0;
      const measure = { ...options.measure, signal: controller.signal };
      const sampleAt = (index: number) => {
        if (++seen > calls) controller.abort();
        return options.sampleAt(index);
      };
      let found: QuadraticResult;
      try {
        found = await identifyQuadratic({ ...options, measure, sampleAt, resume: true });
      } catch (error) {
        if (!(error instanceof AbortedError)) throw error;
        continue;
      }
      expect(found).toEqual(whole);
      break;
    }
  });
});

it('an engine without KL divergences is refused', async () => {
  const engine = await openTensorflowEngine(folder, { backend: 'wasm' });
  try {
    const kl = { distance: 'kl' as const };
    await expect(engine.distill(sample, filledGrid(2, 4, 0), goldenWindow, kl)).rejects.toThrow(
      'Expected `distance` hidden with engine tensorflow, which has no KL divergences, got `kl`; use engine native.',
    );
    const score = quadraticMethod.score({
      engine,
      sampleAt: () => sample,
      settings: { window: goldenWindow, supervise, lambda: 1, fullBranch: 'student' } as never,
      quadratic: { samples: 1, rounds: 1, step: 'finite', distance: 'kl' },
      files: { metrics: join(scratch, 'm'), checkpoint: join(scratch, 'c') },
      identity: {},
    });
    await expect(score).rejects.toThrow(
      'Expected an engine that measures KL divergences for `distance` kl, got `tensorflow`',
    );
  } finally {
    await engine.close();
  }
});
