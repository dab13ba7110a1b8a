// The ladder on the golden model: effects are inner products of true changes of the hidden states, the run's own result keeps its bytes
// beside it, an aborted run resumes to the same bytes, blocks on disk equal blocks in memory, and what is no ladder is refused.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { filledGrid } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { AbortedError, ConfigError } from '../../../src/errors/errors.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { quadraticMethod } from '../../../train/methods/quadratic.ts';
import { countLadderForwards, countQuadraticForwards } from '../../../train/quadratic/cost.ts';
import { identifyQuadratic, type QuadraticResult } from '../../../train/quadratic/identify-quadratic.ts';
import { checkWindows } from '../../../train/quadratic/ladder.ts';
import { measureLadder } from '../../../train/quadratic/measure-ladder.ts';
import { type ProbingEngine, requireProbing } from '../../../train/quadratic/measure-sample.ts';
import type { QuadraticOptions } from '../../../train/quadratic/run.ts';
import { shrinkSketch } from '../../../train/quadratic/shrink-sketch.ts';
import { sketchLadder } from '../../../train/quadratic/sketch-ladder.ts';
import { describeNative } from '../../reference/native-library.ts';
import { GOLDEN_MODEL, goldenLambda, goldenSamples, goldenWindow } from './golden-run.ts';

const folder = openModelFolder(GOLDEN_MODEL);
const scratch = mkdtempSync(join(tmpdir(), 'duo-ladder-'));
let engine: Engine;
beforeAll(async () => {
  engine = await openTensorflowEngine(folder, { backend: 'wasm' });
});
afterAll(async () => {
  await engine.close();
  folder.close();
  rmSync(scratch, { recursive: true });
});

const HEADS = 8;
const OWN = goldenWindow.recentTokens;
const WINDOWS = [OWN, 2 * OWN, 3 * OWN];

function ladderOptions(limits?: { blockBytes: number; memoryBytes: number }) {
  const scratchFolder = join(scratch, 'blocks');
  const { sinkTokens } = goldenWindow;
  return {
    engine: requireProbing(engine),
    supervise: 'predict' as const,
    windows: WINDOWS,
    sinkTokens,
    scratchFolder,
    limits,
  };
}

/** Entry (i, j) of a lower triangle. */
const at = (triangle: Float64Array, i: number, j: number): number =>
  triangle[(Math.max(i, j) * (Math.max(i, j) + 1)) / 2 + Math.min(i, j)] as number;

/** h(all full) − h(one head closed to one window), by two forward passes. */
async function differenceOf(option: number): Promise<Float64Array> {
  const probing = requireProbing(engine);
  const [head, rung] = [Math.floor(option / WINDOWS.length), option % WINDOWS.length];
  const gates = filledGrid(2, 4, 1);
  gates[Math.floor(head / 4)]![head % 4] = 0;
  const window = { sinkTokens: goldenWindow.sinkTokens, recentTokens: WINDOWS[rung]! };
  const full = await probing.computeHidden(goldenSamples[0]!, 'full', window);
  const closed = await probing.computeHidden(goldenSamples[0]!, gates, window);
  return Float64Array.from(full, (value, index) => value - closed[index]!);
}

describe('measureLadder', () => {
  it('gives the inner products of what single heads at single windows change', async () => {
    const triangle = await measureLadder(goldenSamples[0]!, ladderOptions());
    expect(triangle).toHaveLength((24 * 25) / 2);
    const options = [0, 1, 2, 10, 17, 23];
    const differences = await Promise.all(options.map(differenceOf));
    const largest = Math.max(...triangle);
    for (const [row, i] of options.entries()) {
      for (const [column, j] of options.entries()) {
        const [a, b] = [differences[row]!, differences[column]!];
        const product = a.reduce((sum, value, index) => sum + value * b[index]!, 0) / a.length;
        expect(Math.abs(at(triangle, i, j) - product)).toBeLessThan(1e-5 * largest);
      }
    }
    // a window that is three times as wide costs less: the heads that recall look far back
    const costs = WINDOWS.map((_, rung) =>
      Array.from({ length: HEADS }, (__, head) => at(triangle, head * 3 + rung, head * 3 + rung)),
    );
    expect(Math.max(...costs[2]!)).toBeLessThan(Math.max(...costs[0]!));
  });

  it('gives the same bytes with blocks of one head on disk', async () => {
    const options = ladderOptions({ blockBytes: 1, memoryBytes: 0 });
    expect(await measureLadder(goldenSamples[0]!, options)).toEqual(
      await measureLadder(goldenSamples[0]!, ladderOptions()),
    );
    expect(existsSync(options.scratchFolder)).toBe(false);
  });

  it('tells progress that rises to 1', async () => {
    const seen: number[] = [];
    await measureLadder(goldenSamples[0]!, { ...ladderOptions(), onProgress: (fraction) => seen.push(fraction) });
    expect(seen.length).toBeGreaterThan(10);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(1);
  });
});

function runOptions(name: string, more: Partial<QuadraticOptions['settings']> = {}): QuadraticOptions {
  return {
    settings: { samples: 2, rounds: 1, step: 'finite', lambda: goldenLambda, ...more },
    measure: { engine: requireProbing(engine), window: goldenWindow, supervise: 'predict', signal: undefined },
    sampleAt: (index) => goldenSamples[index]!,
    checkpointPath: join(scratch, `${name}.json`),
    identity: { samples: 'golden' },
  };
}

const withoutLadder = ({ ladder: _, ...rest }: QuadraticResult): string => JSON.stringify(rest);

/** The engine, counting the heads it probes. */
function countProbes(): { counting: ProbingEngine; count: () => number } {
  let probes = 0;
  const real = requireProbing(engine);
  const counting = new Proxy(real, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (key !== 'probe') return typeof value === 'function' ? value.bind(target) : value;
      return (...args: Parameters<ProbingEngine['probe']>) => {
        probes += args[1].end - args[1].begin;
        return target.probe(...args);
      };
    },
  });
  return { counting, count: () => probes };
}

describe('a run with windows', () => {
  it.each([
    ['among them its own', WINDOWS, 'finite', 1],
    ['others than its own', [OWN + 1, 2 * OWN], 'finite', 1],
    ['and tangents', WINDOWS, 'tangent', 1],
    ['and two rounds', WINDOWS, 'finite', 2],
  ] as const)(
    '%s: keeps the bytes of its gates and path',
    { timeout: 120_000 },
    async (name, windows, step, rounds) => {
      const plain = await identifyQuadratic(runOptions(`plain-${name}`, { step, rounds }));
      const climbed = await identifyQuadratic(runOptions(`climbed-${name}`, { step, rounds, windows }));
      expect(plain.ladder).toBeUndefined();
      expect(withoutLadder(climbed)).toBe(withoutLadder(plain));
      expect(climbed.ladder!.windows).toEqual(windows);
      expect(climbed.ladder!.sink).toBe(goldenWindow.sinkTokens);
      expect(climbed.ladder!.tokens).toBe(Math.max(...goldenSamples.slice(0, 2).map(({ tokens }) => tokens.length)));
      expect(climbed.ladder!.effects.map((row) => row.length)).toEqual(
        Array.from({ length: HEADS * windows.length }, (_, row) => row + 1),
      );
    },
  );

  it('holds the mean over samples, to five digits', async () => {
    const { ladder } = await identifyQuadratic(runOptions('mean', { windows: WINDOWS }));
    const [a, b] = [
      await measureLadder(goldenSamples[0]!, ladderOptions()),
      await measureLadder(goldenSamples[1]!, ladderOptions()),
    ];
    expect(ladder!.effects.flat()).toEqual(
      Array.from(a, (value, index) => Number(((value + b[index]!) / 2).toPrecision(5))),
    );
  });

  it('is spared the first round where the ladder holds its own window, and only there', async () => {
    const probesOf = async (name: string, windows: readonly number[] | undefined): Promise<number> => {
      const { counting, count } = countProbes();
      const options = runOptions(name, { windows });
      await identifyQuadratic({ ...options, measure: { ...options.measure, engine: counting } });
      return count();
    };
    const plain = await probesOf('probes', undefined);
    expect(await probesOf('probes-own', WINDOWS)).toBe(plain + 2 * HEADS * 2);
    expect(await probesOf('probes-other', [OWN + 1])).toBe(plain + 2 * HEADS);
  });

  it('gives the same bytes after an abort anywhere and a resume, and tells progress', {
    timeout: 120_000,
  }, async () => {
    let asks = 0;
    const seen: number[] = [];
    const whole = JSON.stringify(
      await identifyQuadratic({
        ...runOptions('whole', { windows: WINDOWS }),
        sampleAt: (index) => {
          asks++;
          return goldenSamples[index]!;
        },
        onProgress: (fraction) => seen.push(fraction),
      }),
    );
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBeCloseTo(1, 12);
    expect(seen[0]).toBeLessThan(0.1);
    // within the ladder, right after it, in elimination
    for (const abortAt of [1, 2, asks - 1]) {
      const controller = new AbortController();
      const options = runOptions(`aborted-${abortAt}`, { windows: WINDOWS });
      let asked = 0;
      const interrupted = identifyQuadratic({
        ...options,
        measure: { ...options.measure, signal: controller.signal },
        sampleAt: (index) => {
          if (asked++ === abortAt) controller.abort();
          return goldenSamples[index]!;
        },
      });
      await expect(interrupted).rejects.toThrow(AbortedError);
      expect(JSON.parse(readFileSync(options.checkpointPath, 'utf8')).ladder.measured.samples).toBe(
        Math.min(abortAt, 2),
      );
      expect(JSON.stringify(await identifyQuadratic({ ...options, resume: true }))).toBe(whole);
    }
  });

  it('costs one pass over the heads per window, less the first round where that is one of them', async () => {
    const shape = { layers: 2, kvHeads: 4, callsPerSample: 1, samples: 3, rounds: 1 };
    const plain = countQuadraticForwards(shape);
    // base 1, four heads per layer × 3 / 2 layers
    expect(countLadderForwards({ ...shape, windows: 2 })).toBe(2 * (1 + 6));
    expect(countQuadraticForwards({ ...shape, windows: 2 })).toBe(plain + 3 * 14);
    // a sketch costs the same for any number of windows: a pass, and two for each vector
    expect(countLadderForwards({ ...shape, windows: 2, vectors: 8 })).toBe(1 + 16);
    expect(countLadderForwards({ ...shape, windows: 5, vectors: 8 })).toBe(1 + 16);
    expect(countLadderForwards({ ...shape, windows: 0, vectors: 8 })).toBe(0);
    expect(countQuadraticForwards({ ...shape, windows: 2, isFirstSpared: true })).toBe(plain + 3 * 7);
  });
});

describeNative('on the native engine', () => {
  it('a run keeps its bytes beside the ladder, whose effects are those of the other engine', async () => {
    const native = requireProbing(await openNativeEngine(folder));
    const options = runOptions('native');
    const measure = { ...options.measure, engine: native };
    const plain = await identifyQuadratic({ ...options, measure });
    const settings = { ...options.settings, windows: WINDOWS };
    const climbed = await identifyQuadratic({ ...options, measure, settings });
    await native.close();
    expect(withoutLadder(climbed)).toBe(withoutLadder(plain));
    const other = await identifyQuadratic({ ...options, settings });
    const [a, b] = [climbed.ladder!.effects.flat(), other.ladder!.effects.flat()];
    const largest = Math.max(...b);
    a.forEach((value, index) => {
      expect(Math.abs(value - b[index]!)).toBeLessThan(1e-4 * largest);
    });
  });
});

describeNative('a sketch', () => {
  it('estimates the inner products of small closings, better with more vectors', { timeout: 120_000 }, async () => {
    const native = requireProbing(await openNativeEngine(folder));
    const options = { ...ladderOptions(), engine: native };
    const step = 1 / 64;
    const rows: number[][] = Array.from({ length: HEADS * WINDOWS.length }, () => []);
    for (const [rung, recentTokens] of WINDOWS.entries()) {
      const window = { sinkTokens: goldenWindow.sinkTokens, recentTokens };
      const request = {
        gates: filledGrid(2, 4, 1),
        probeGates: filledGrid(2, 4, 1 - step),
        window,
        begin: 0,
        end: HEADS,
      };
      const found = await native.probe(goldenSamples[0]!, request);
      const length = found.length / HEADS;
      for (let head = 0; head < HEADS; head++) {
        rows[head * WINDOWS.length + rung] = Array.from(
          found.subarray(head * length, (head + 1) * length),
          (value) => value / step,
        );
      }
    }
    const exact = rows.flatMap((row, i) =>
      rows.slice(0, i + 1).map((other) => row.reduce((sum, value, at) => sum + value * other[at]!, 0) / row.length),
    );
    const size = (values: ArrayLike<number>): number =>
      Math.sqrt(Array.from(values).reduce((sum, v) => sum + v * v, 0));
    const errorOf = async (vectors: number): Promise<number> => {
      const sketch = await sketchLadder(goldenSamples[0]!, { ...options, vectors, sampleIndex: 0 });
      return size(exact.map((value, index) => value - sketch[index]!)) / size(exact);
    };
    const [few, many] = [await errorOf(16), await errorOf(1024)];
    await native.close();
    expect(many).toBeLessThan(0.15);
    expect(many).toBeLessThan(few / 2);
  });

  it('is what a run with vectors takes, resumable to the same bytes, its gates as without', {
    timeout: 120_000,
  }, async () => {
    const native = requireProbing(await openNativeEngine(folder));
    const options = runOptions('sketched', { windows: WINDOWS, ladderVectors: 8 });
    const measure = { ...options.measure, engine: native };
    const whole = await identifyQuadratic({ ...options, measure });
    const plain = await identifyQuadratic({ ...runOptions('unsketched'), measure });
    expect(withoutLadder(whole)).toBe(withoutLadder(plain));
    const [a, b] = [0, 1].map((sampleIndex) =>
      sketchLadder(goldenSamples[sampleIndex]!, { ...ladderOptions(), engine: native, vectors: 8, sampleIndex }),
    );
    const [first, second] = [await a!, await b!];
    const size = HEADS * WINDOWS.length;
    const mean = new Float64Array(size * size);
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++)
        mean[row * size + column] = (at(first, row, column) + at(second, row, column)) / 2;
    shrinkSketch(mean, { headOf: (row) => Math.floor(row / WINDOWS.length), draws: 16 });
    expect(whole.ladder!.effects.flat()).toEqual(
      Array.from(first, (_, index) => {
        const row = Math.floor((Math.sqrt(8 * index + 1) - 1) / 2);
        return Number(mean[row * size + index - (row * (row + 1)) / 2]!.toPrecision(5));
      }),
    );
    const controller = new AbortController();
    let asked = 0;
    const interrupted = identifyQuadratic({
      ...options,
      checkpointPath: join(scratch, 'sketched-cut.json'),
      measure: { ...measure, signal: controller.signal },
      sampleAt: (index) => {
        if (asked++ === 1) controller.abort();
        return goldenSamples[index]!;
      },
    });
    await expect(interrupted).rejects.toThrow(AbortedError);
    const resumed = { ...options, checkpointPath: join(scratch, 'sketched-cut.json'), measure, resume: true };
    expect(JSON.stringify(await identifyQuadratic(resumed))).toBe(JSON.stringify(whole));
    await native.close();
  });
});

describe('the method with windows', () => {
  const settings = {
    steps: 1,
    lr: 1,
    lambda: goldenLambda,
    window: goldenWindow,
    supervise: 'predict' as const,
    fullBranch: 'student' as const,
    checkpointEvery: 1,
    gatesEvery: 1,
    stableSteps: 0,
  };
  const score = (quadratic: { windows?: readonly number[]; ladderVectors?: number }) => ({
    engine,
    settings,
    sampleAt: (index: number) => goldenSamples[index]!,
    files: { metrics: join(scratch, 'metrics.jsonl'), checkpoint: join(scratch, 'method.json') },
    identity: {},
    quadratic: { samples: 1, rounds: 1, step: 'finite' as const, ...quadratic },
    shortSample: goldenSamples[0]!,
  });

  it('gives the ladder and says the windows in its provenance', async () => {
    const scored = await quadraticMethod.score(score({ windows: WINDOWS }));
    expect(scored.ladder!.effects).toHaveLength(HEADS * WINDOWS.length);
    expect(scored.provenance).toMatchObject({ quadratic: { windows: WINDOWS } });
    const plain = await quadraticMethod.score(score({}));
    expect(plain).not.toHaveProperty('ladder');
    expect(plain.provenance.quadratic).not.toHaveProperty('windows');
  });

  it('counts the ladder in its estimate', async () => {
    const plain = await quadraticMethod.estimate!(score({}));
    const climbed = await quadraticMethod.estimate!(score({ windows: WINDOWS }));
    expect(climbed.memoryBytes).toBeGreaterThan(plain.memoryBytes);
    expect(climbed.operations).toBeGreaterThan(plain.operations);
  });

  it('refuses a sketch on an engine that has none, before anything is measured', async () => {
    const quadratic = { windows: WINDOWS, ladderVectors: 8 };
    await expect(quadraticMethod.score(score(quadratic))).rejects.toThrow(
      'Expected `ladderVectors` and `quadraticVectors` to be 0 with engine `tensorflow` on',
    );
  });

  it('refuses to resume with other windows', async () => {
    await quadraticMethod.score(score({ windows: WINDOWS }));
    const other = quadraticMethod.score({ ...score({ windows: [OWN, 2 * OWN, 4 * OWN] }), resume: true });
    await expect(other).rejects.toThrow("Expected --resume to keep the run's settings, but `quadratic.windows` was");
  });
});

it.each([
  [[], 8, 'Expected `windows` to be 1 to 32 ascending integers of at least 1, got ``.'],
  [[0, 4], 8, 'got `0, 4`.'],
  [[8, 8], 8, 'got `8, 8`.'],
  [[16, 8], 8, 'got `16, 8`.'],
  [[1.5], 8, 'got `1.5`.'],
  [
    [256, 512, 1024, 2048],
    1280,
    'Expected at most 4096 pairs of a KV head and a window, got 1280 heads with 4 windows; give at most 3 --windows.',
  ],
])('refuses windows %j of %i heads', (windows, heads, sentence) => {
  expect(() => checkWindows(windows, heads)).toThrow(ConfigError);
  expect(() => checkWindows(windows, heads)).toThrow(sentence);
});
