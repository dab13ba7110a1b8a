// A ladder in proportion to the length, on the golden model: each sample is measured with the windows of its own length, the run's own result keeps its
// bytes beside it, and nothing of the first round is spared.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sample } from '../../../src/core/shapes.ts';
import type { WindowRule } from '../../../src/core/window-rule.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { AbortedError, ConfigError } from '../../../src/errors/errors.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { identifyQuadratic, type QuadraticResult } from '../../../train/quadratic/identify-quadratic.ts';
import { measureLadder } from '../../../train/quadratic/measure-ladder.ts';
import { type ProbingEngine, requireProbing } from '../../../train/quadratic/measure-sample.ts';
import { isFirstSpared } from '../../../train/quadratic/quadratic-settings.ts';
import type { QuadraticOptions } from '../../../train/quadratic/run.ts';
import { shrinkSketch } from '../../../train/quadratic/shrink-sketch.ts';
import { sketchLadder } from '../../../train/quadratic/sketch-ladder.ts';
import { describeNative } from '../../reference/native-library.ts';
import { GOLDEN_MODEL, goldenLambda, goldenSamples, goldenWindow } from './golden-run.ts';

const folder = openModelFolder(GOLDEN_MODEL);
const scratch = mkdtempSync(join(tmpdir(), 'duo-rule-'));
let engine: ProbingEngine;
beforeAll(async () => {
  engine = requireProbing((await openTensorflowEngine(folder, { backend: 'wasm' })) as Engine);
});
afterAll(async () => {
  await engine.close();
  folder.close();
  rmSync(scratch, { recursive: true });
});

const HEADS = 8;
const OWN = goldenWindow.recentTokens;
const { sinkTokens } = goldenWindow;
/** 184 tokens, and two such documents in a row. */
const [short, other] = goldenSamples as [Sample, Sample];
const long: Sample = {
  tokens: [...short.tokens, ...other.tokens],
  answers: other.answers.map(([start, end]) => [start + short.tokens.length, end + short.tokens.length]),
};
const samples = [long, short];
const rule: WindowRule = { name: 'proportional', namedAt: 375 };
const WINDOWS = [OWN, 96];
/** of the short sample: 32 · 184 / 375 = 15.7, 96 · … = 47.1 */
const SCALED = [16, 47];

function runOptions(name: string, more: Partial<QuadraticOptions['settings']> = {}): QuadraticOptions {
  return {
    settings: { samples: 2, rounds: 1, step: 'finite', lambda: goldenLambda, windows: WINDOWS, ...more },
    measure: { engine, window: goldenWindow, supervise: 'predict', signal: undefined },
    sampleAt: (index) => samples[index] as Sample,
    checkpointPath: join(scratch, `${name}.json`),
    identity: { samples: 'golden' },
  };
}

const withoutLadder = ({ ladder: _, ...rest }: QuadraticResult): string => JSON.stringify(rest);
const roundAll = (values: Iterable<number>): number[] => Array.from(values, (value) => Number(value.toPrecision(5)));

describe('a proportional ladder', { timeout: 120_000 }, () => {
  it('is the mean of each sample with the windows of its length, other than the fixed one, beside the same gates', async () => {
    const found = await identifyQuadratic(runOptions('found', { windowRule: rule }));
    const by = { engine, supervise: 'predict' as const, sinkTokens, scratchFolder: join(scratch, 'blocks') };
    const a = await measureLadder(long, { ...by, windows: WINDOWS });
    const b = await measureLadder(short, { ...by, windows: SCALED });
    expect(found.ladder?.effects.flat()).toEqual(roundAll(a.map((value, index) => (value + (b[index] as number)) / 2)));
    expect(found.ladder).toMatchObject({ windows: WINDOWS, rule, tokens: 375 });
    const fixed = await identifyQuadratic(runOptions('fixed'));
    expect(fixed.ladder).not.toHaveProperty('rule');
    expect(fixed.ladder?.effects).not.toEqual(found.ladder?.effects);
    const plain = await identifyQuadratic(runOptions('plain', { windows: undefined }));
    expect(withoutLadder(found)).toBe(withoutLadder(plain));
  });

  it('resumes to the same bytes', async () => {
    const whole = JSON.stringify(await identifyQuadratic(runOptions('whole', { windowRule: rule })));
    const controller = new AbortController();
    const options = runOptions('aborted', { windowRule: rule });
    let asked = 0;
    const interrupted = identifyQuadratic({
      ...options,
      measure: { ...options.measure, signal: controller.signal },
      sampleAt: (index) => {
        if (asked++ === 1) controller.abort();
        return samples[index] as Sample;
      },
    });
    await expect(interrupted).rejects.toThrow(AbortedError);
    expect(JSON.parse(readFileSync(options.checkpointPath, 'utf8')).ladder.measured.samples).toBe(1);
    expect(JSON.stringify(await identifyQuadratic({ ...options, resume: true }))).toBe(whole);
  });

  it('refuses a sample that a window holds whole, and a rule named at no length', async () => {
    const held = { windows: [OWN, 370], windowRule: rule };
    await expect(identifyQuadratic(runOptions('held', held))).rejects.toThrow(
      'got one of 184 tokens, which 4 sink tokens and the window of 370 at 375, 182 there, hold whole',
    );
    const nowhere = { windowRule: { ...rule, namedAt: 0 } };
    await expect(identifyQuadratic(runOptions('nowhere', nowhere))).rejects.toThrow(ConfigError);
  });
});

it('spares nothing of the first round where windows go by the length', () => {
  const settings = { windows: WINDOWS, step: 'finite' as const };
  expect(isFirstSpared(settings, OWN)).toBe(true);
  expect(isFirstSpared({ ...settings, windowRule: rule }, OWN)).toBe(false);
});

describeNative('a sketched proportional ladder', () => {
  it('is the mean of sketches with the windows of each length', { timeout: 120_000 }, async () => {
    const native = requireProbing(await openNativeEngine(folder));
    try {
      const vectors = 8;
      const options = runOptions('sketched', { windowRule: rule, ladderVectors: vectors });
      const found = await identifyQuadratic({ ...options, measure: { ...options.measure, engine: native } });
      const by = { engine: native, supervise: 'predict' as const, sinkTokens, vectors };
      const a = await sketchLadder(long, { ...by, windows: WINDOWS, sampleIndex: 0 });
      const b = await sketchLadder(short, { ...by, windows: SCALED, sampleIndex: 1 });
      const size = HEADS * WINDOWS.length;
      const mean = new Float64Array(size * size);
      const place = (row: number, column: number): number =>
        (Math.max(row, column) * (Math.max(row, column) + 1)) / 2 + Math.min(row, column);
      for (let row = 0; row < size; row++) {
        for (let column = 0; column < size; column++) {
          mean[row * size + column] = ((a[place(row, column)] as number) + (b[place(row, column)] as number)) / 2;
        }
      }
      shrinkSketch(mean, { headOf: (row) => Math.floor(row / WINDOWS.length), draws: 2 * vectors });
      const triangle = Array.from({ length: size }, (_, row) => mean.subarray(row * size, row * size + row + 1));
      expect(found.ladder?.effects.map((row) => row.length)).toEqual(triangle.map((row) => row.length));
      expect(found.ladder?.effects.flat()).toEqual(roundAll(triangle.flatMap((row) => [...row])));
    } finally {
      await native.close();
    }
  });
});
