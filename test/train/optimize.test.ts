import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AbortedError, ConfigError, EngineError } from '../../src/errors/errors.ts';
import { type MetricsLine, readMetrics } from '../../src/formats/metrics.ts';
import { type OptimizeOptions, type OptimizeSettings, optimizeGates } from '../../train/optimize.ts';
import { KV_HEADS, LAYERS, makeQuadraticEngine, quadraticSampleAt } from './quadratic-engine.ts';

const baseSettings: OptimizeSettings = {
  steps: 60,
  lr: 0.05,
  lambda: 0.2,
  window: { sinkTokens: 4, recentTokens: 32 },
  supervise: 'predict',
  fullBranch: 'student',
  checkpointEvery: 10,
  gatesEvery: 20,
  stableSteps: 0,
};

function makeOptions(change: Partial<OptimizeSettings> = {}, more: Partial<OptimizeOptions> = {}): OptimizeOptions {
  const folder = mkdtempSync(join(tmpdir(), 'duo-optimize-'));
  return {
    engine: makeQuadraticEngine(),
    sampleAt: quadraticSampleAt,
    settings: { ...baseSettings, ...change },
    files: { metrics: join(folder, 'metrics.jsonl'), checkpoint: join(folder, 'checkpoint.json') },
    identity: { samples: 'sha256:00', cut: { streamingFraction: 0.5 } },
    ...more,
  };
}

/** Heads below one half stream; no ties. */
const cutAtHalf = (gates: number[][]) => ({
  mask: gates.map((row) => row.map((gate) => (gate >= 0.5 ? 1 : 0))),
  tieDecided: 0,
});

describe('optimizeGates', () => {
  test('closes cheap heads, keeps dear ones, and writes a line per step', async () => {
    const options = makeOptions();
    const { gates, stepsDone, firstStep, isStoppedEarly } = await optimizeGates(options);
    expect([stepsDone, firstStep, isStoppedEarly]).toEqual([60, 0, false]);
    for (const row of gates) {
      expect(row[0]).toBeGreaterThan(0.8);
      for (const gate of row.slice(1)) expect(gate).toBeLessThan(0.01);
    }
    const lines = readMetrics(options.files.metrics);
    expect(lines.map(({ step }) => step)).toEqual(Array.from({ length: 60 }, (_, step) => step));
    expect(lines.filter((line) => line.gates).map(({ step }) => step)).toEqual([0, 20, 40, 59]);
    const last = lines.at(-1) as MetricsLine;
    expect(last.loss).toBe(last.distillation + last.penalty);
    expect(last.lr).toBeCloseTo(0.005, 12);
    expect(last.length).toBe(3);
    expect(last.gateMean).toBeCloseTo(gates.flat().reduce((sum, gate) => sum + gate, 0) / 6, 12);
  });

  test('the first line has no distillation loss and the penalty of open gates', async () => {
    const options = makeOptions({ steps: 1 });
    await optimizeGates(options);
    const [line] = readMetrics(options.files.metrics);
    expect(line).toMatchObject({ step: 0, distillation: 0, lr: 0.05, undecided: 0 });
    expect(line?.penalty).toBeCloseTo(0.2, 7);
  });

  test('same inputs, same bytes', async () => {
    const [a, b] = [makeOptions(), makeOptions()];
    const [first, second] = [await optimizeGates(a), await optimizeGates(b)];
    expect(first.gates).toEqual(second.gates);
    expect(readFileSync(a.files.checkpoint)).toEqual(readFileSync(b.files.checkpoint));
  });

  test('hands sample, window, supervision and branch to the engine', async () => {
    const options = makeOptions({ steps: 1, supervise: 'answer', fullBranch: 'teacher' });
    const seen: unknown[] = [];
    const { distill } = options.engine;
    options.engine.distill = (sample, gates, window, distillOptions) => {
      const { supervise, fullBranch } = distillOptions ?? {};
      seen.push(sample, gates, window, { supervise, fullBranch });
      return distill(sample, gates, window, distillOptions);
    };
    await optimizeGates(options);
    expect(seen).toEqual([
      quadraticSampleAt(0),
      Array.from({ length: LAYERS }, () => new Array(KV_HEADS).fill(1)),
      { sinkTokens: 4, recentTokens: 32 },
      { supervise: 'answer', fullBranch: 'teacher' },
    ]);
  });

  test('stops early once the mask has stood still after the warm-up, and stays stopped on resume', async () => {
    const options = makeOptions({ stableSteps: 8 }, { cut: cutAtHalf });
    const { stepsDone, isStoppedEarly, gates, scales } = await optimizeGates(options);
    expect(isStoppedEarly).toBe(true);
    expect(stepsDone).toBeGreaterThan(12 + 8);
    expect(stepsDone).toBeLessThan(60);
    const lines = readMetrics(options.files.metrics);
    expect(lines).toHaveLength(stepsDone);
    expect(lines.at(-1)?.gates).toBeDefined();
    const again = await optimizeGates({ ...options, resume: true });
    expect(again).toEqual({ gates, stepsDone, scales, firstStep: stepsDone, isStoppedEarly: true });
    expect(readMetrics(options.files.metrics)).toEqual(lines);
  });

  test('a mask that ties decide is not still', async () => {
    const cut = (gates: number[][]) => ({ ...cutAtHalf(gates), tieDecided: 2 });
    const { isStoppedEarly } = await optimizeGates(makeOptions({ stableSteps: 3 }, { cut }));
    expect(isStoppedEarly).toBe(false);
  });

  test.each([
    [{ steps: 0 }, 'Expected `steps` to be an integer of at least 1, got `0`.'],
    [{ steps: 1.5 }, 'Expected `steps` to be an integer of at least 1, got `1.5`.'],
    [{ lr: 0 }, 'Expected `lr` to be a number above 0, got `0`.'],
    [{ lr: Number.NaN }, 'Expected `lr` to be a number above 0, got `NaN`.'],
    [{ lambda: -1 }, 'Expected `lambda` to be a number of at least 0, got `-1`.'],
    [{ checkpointEvery: 0 }, 'Expected `checkpointEvery` to be an integer of at least 1, got `0`.'],
    [{ gatesEvery: 0 }, 'Expected `gatesEvery` to be an integer of at least 1, got `0`.'],
    [{ stableSteps: -1 }, 'Expected `stableSteps` to be an integer of at least 0, got `-1`.'],
    [{ stableSteps: 5 }, 'Expected a cut where `stableSteps` is above 0, got none.'],
  ])('refuses %j', async (change, message) => {
    await expect(optimizeGates(makeOptions(change))).rejects.toThrow(new ConfigError(message));
  });

  test('names the step whose loss is no number', async () => {
    const engine = makeQuadraticEngine();
    const { distill } = engine;
    let call = 0;
    engine.distill = async (...args) => ({
      ...(await distill(...args)),
      ...(call++ === 3 ? { loss: Number.NaN } : {}),
    });
    await expect(optimizeGates(makeOptions({}, { engine }))).rejects.toThrow(
      new EngineError("Expected a finite loss at step 3, got `NaN`; check the model's weights for NaN or Inf."),
    );
  });
});

describe('abort', () => {
  test.each([0, 1, 9, 10, 37])('in the middle of step %i leaves a checkpoint of the steps before it', async (at) => {
    const controller = new AbortController();
    const engine = makeQuadraticEngine((call) => {
      if (call === at) controller.abort();
    });
    const options = makeOptions({}, { engine, signal: controller.signal });
    await expect(optimizeGates(options)).rejects.toThrow(AbortedError);
    expect(JSON.parse(readFileSync(options.files.checkpoint, 'utf8')).steps).toBe(at);

    const resumed = await optimizeGates({ ...makeOptions(), files: options.files, resume: true });
    const whole = makeOptions();
    expect(resumed).toEqual({ ...(await optimizeGates(whole)), firstStep: at });
  });

  test('before the first step does no step', async () => {
    const options = makeOptions({}, { signal: AbortSignal.abort() });
    await expect(optimizeGates(options)).rejects.toThrow(new AbortedError('Stopped before step 0 of 60.'));
    expect(readMetrics(options.files.metrics)).toEqual([]);
  });
});

describe('resume', () => {
  test.each([
    ['lr', { lr: 0.04 }, {}, /`optimizer\.lr` was `0\.05` and is `0\.04`/],
    ['steps', { steps: 61 }, {}, /`optimizer\.steps` was `60` and is `61`/],
    ['window', { window: { sinkTokens: 4, recentTokens: 33 } }, {}, /`optimizer\.recent` was `32` and is `33`/],
    ['samples', {}, { samples: 'sha256:11' }, /`samples` was `"sha256:00"` and is `"sha256:11"`/],
    ['a new key', {}, { device: 'cuda' }, /`device` was `absent` and is `"cuda"`/],
  ])('refuses another %s', async (_, change, identity, message) => {
    const options = makeOptions();
    await optimizeGates(options);
    const before = readFileSync(options.files.metrics);
    const other = makeOptions(change, { files: options.files, resume: true });
    const run = () => optimizeGates({ ...other, identity: { ...other.identity, ...identity } });
    await expect(run()).rejects.toThrow(ConfigError);
    await expect(run()).rejects.toThrow(message);
    expect(readFileSync(options.files.metrics)).toEqual(before);
  });

  test('another distance between checkpoints is no other run', async () => {
    const options = makeOptions();
    const { gates } = await optimizeGates(options);
    const again = await optimizeGates({ ...makeOptions({ checkpointEvery: 3 }), files: options.files, resume: true });
    expect(again.gates).toEqual(gates);
  });

  test('with no checkpoint starts at step 0; without resume a checkpoint is not looked at', async () => {
    const options = makeOptions();
    expect((await optimizeGates({ ...options, resume: true })).firstStep).toBe(0);
    expect((await optimizeGates({ ...makeOptions({ lr: 0.01 }), files: options.files })).firstStep).toBe(0);
  });
});
