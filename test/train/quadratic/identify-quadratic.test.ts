// The whole method on the golden model: rounds lower the true objective, elimination ranks by it, an aborted run resumes to the same bytes, blocks on disk equal
// blocks in memory, and what it cannot do is refused by name.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { AbortedError, ConfigError, FormatError } from '../../../src/errors/errors.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { quadraticMethod } from '../../../train/methods/quadratic.ts';
import { identifyQuadratic } from '../../../train/quadratic/identify-quadratic.ts';
import { measureLoss, measureSample, requireProbing } from '../../../train/quadratic/measure-sample.ts';
import type { QuadraticSettings } from '../../../train/quadratic/quadratic-settings.ts';
import type { QuadraticOptions } from '../../../train/quadratic/run.ts';
import { makeQuadraticEngine } from '../quadratic-engine.ts';
import { GOLDEN_MODEL, goldenLambda, goldenSamples, goldenWindow } from './golden-run.ts';

const folder = openModelFolder(GOLDEN_MODEL);
const scratch = mkdtempSync(join(tmpdir(), 'duo-quadratic-'));
let engine: Engine;
beforeAll(async () => {
  engine = await openTensorflowEngine(folder, { backend: 'wasm' });
});
afterAll(async () => {
  await engine.close();
  folder.close();
  rmSync(scratch, { recursive: true });
});

const SETTINGS: QuadraticSettings = { samples: 2, rounds: 2, step: 'tangent', lambda: goldenLambda };

function optionsOf(name: string, settings: Partial<QuadraticSettings> = {}, signal?: AbortSignal): QuadraticOptions {
  return {
    settings: { ...SETTINGS, ...settings },
    measure: { engine: requireProbing(engine), window: goldenWindow, supervise: 'predict', signal },
    sampleAt: (index) => goldenSamples[index]!,
    checkpointPath: join(scratch, `${name}.json`),
    identity: { samples: 'golden' },
  };
}

describe('identifyQuadratic', () => {
  it('lowers the true objective in every round it takes', async () => {
    const { rounds } = await identifyQuadratic(optionsOf('rounds', { rounds: 3, lambda: 2 }));
    expect(rounds.length).toBeGreaterThan(1);
    expect(rounds[0]).toMatchObject({ loss: 0 });
    for (const [index, { loss }] of rounds.entries()) {
      if (index > 0) expect(loss).toBeCloseTo(rounds[index - 1]!.lossAfter!, 6);
    }
  });

  it('accepts no step that leaves the true objective where it was', async () => {
    // Around all heads full, λ of next to nothing has nothing to gain.
    const { rounds } = await identifyQuadratic(optionsOf('no-gain', { rounds: 3, lambda: 1e-12 }));
    expect(rounds).toHaveLength(1);
    expect(rounds[0]).toMatchObject({ loss: 0, lossAfter: 0, stepTaken: 0, streamingHeads: 0 });
  });

  it('ranks every head once, the last two by the true loss of the masks that keep one of them', async () => {
    const options = optionsOf('ranking', { rounds: 1, step: 'finite' });
    const { path } = await identifyQuadratic(options);
    const ranks = path.ranking!.flat();
    expect([...ranks].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((place) => place / 8));
    const lossOf = async (keptRank: number): Promise<number> => {
      const grid = path.ranking!.map((row) => row.map((rank) => Number(rank === keptRank)));
      const losses = [];
      for (let index = 0; index < SETTINGS.samples; index++) {
        const measure = { ...options.measure, step: 'finite' as const, scratchFolder: scratch };
        losses.push(await measureLoss(goldenSamples[index]!, grid, measure));
      }
      return losses.reduce((sum, loss) => sum + loss, 0);
    };
    expect(await lossOf(7 / 8)).toBeLessThan(await lossOf(6 / 8));
  });

  it('tells progress that rises to 1', async () => {
    const seen: number[] = [];
    await identifyQuadratic({ ...optionsOf('progress', { rounds: 1 }), onProgress: (fraction) => seen.push(fraction) });
    expect(seen.length).toBeGreaterThan(10);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBeCloseTo(1, 12);
  });

  it('gives the same bytes twice, and after an abort anywhere and a resume', { timeout: 120_000 }, async () => {
    let asks = 0;
    const counting: QuadraticOptions = {
      ...optionsOf('whole'),
      sampleAt: (index) => {
        asks++;
        return goldenSamples[index]!;
      },
    };
    const whole = JSON.stringify(await identifyQuadratic(counting));
    expect(JSON.stringify(await identifyQuadratic(optionsOf('again')))).toBe(whole);
    // In the first round, in the second (two samples are measured and two tried before it), in both stages of elimination.
    for (const abortAt of [1, 5, asks - 3, asks - 1]) {
      const controller = new AbortController();
      const name = `aborted-${abortAt}`;
      let asked = 0;
      const options = optionsOf(name, {}, controller.signal);
      const interrupted = identifyQuadratic({
        ...options,
        sampleAt: (index) => {
          if (asked++ === abortAt) controller.abort();
          return goldenSamples[index]!;
        },
      });
      await expect(interrupted).rejects.toThrow(AbortedError);
      expect(existsSync(options.checkpointPath)).toBe(true);
      const resumed = await identifyQuadratic({ ...optionsOf(name), resume: true });
      expect(JSON.stringify(resumed)).toBe(whole);
    }
  });

  it('refuses to resume with other settings', async () => {
    await identifyQuadratic(optionsOf('identity', { samples: 1, rounds: 1 }));
    const other = {
      ...optionsOf('identity', { samples: 1, rounds: 1 }),
      identity: { samples: 'others' },
      resume: true,
    };
    await expect(identifyQuadratic(other)).rejects.toThrow(
      'Expected --resume to keep the run\'s settings, but `samples` was `"golden"` and is `"others"`',
    );
  });

  it.each([
    [{ lambda: 0 }, 'Expected `lambda` to be a number above 0'],
    [{ lambda: -1 }, 'Expected `lambda` to be a number above 0'],
    [{ samples: 0 }, 'Expected `samples` to be an integer of at least 1, got `0`.'],
    [{ rounds: 0 }, 'Expected `rounds` to be an integer of at least 1, got `0`.'],
  ] as const)('refuses %o', async (settings, message) => {
    const refused = identifyQuadratic(optionsOf('refused', settings));
    await expect(refused).rejects.toThrow(ConfigError);
    await expect(identifyQuadratic(optionsOf('refused', settings))).rejects.toThrow(message);
  });

  it('refuses a sample without supervised positions', async () => {
    const options = { ...optionsOf('no-answers'), sampleAt: () => ({ tokens: [1, 2, 3], answers: [] }) };
    await expect(identifyQuadratic(options)).rejects.toThrow(FormatError);
    await expect(identifyQuadratic(options)).rejects.toThrow(
      'Expected a sample with at least one supervised position, found none; the quadratic method needs answer ranges.',
    );
  });
});

it('measures the same with blocks of one head on disk as with all in memory', async () => {
  const gates = [
    [1, 0.5, 1, 0],
    [0.25, 1, 1, 1],
  ];
  const scratchFolder = join(scratch, 'blocks');
  const common = {
    engine: requireProbing(engine),
    window: goldenWindow,
    supervise: 'predict' as const,
    step: 'finite' as const,
    scratchFolder,
  };
  const inMemory = await measureSample(goldenSamples[0]!, gates, common);
  const onDisk = await measureSample(goldenSamples[0]!, gates, {
    ...common,
    limits: { blockBytes: 1, memoryBytes: 0 },
  });
  expect(onDisk).toEqual(inMemory);
  expect(existsSync(scratchFolder)).toBe(false);
});

it('measures some heads as it measures all, and leaves the rows of the others 0', async () => {
  const gates = [
    [1, 0, 1, 1],
    [0, 1, 1, 0],
  ];
  const common = {
    engine: requireProbing(engine),
    window: goldenWindow,
    supervise: 'predict' as const,
    step: 'finite' as const,
    scratchFolder: join(scratch, 'some'),
  };
  const heads = [0, 2, 3, 5, 6];
  const all = await measureSample(goldenSamples[0]!, gates, common);
  const limits = { blockBytes: 1, memoryBytes: 0 };
  for (const one of [
    { ...common, heads },
    { ...common, heads, limits },
  ]) {
    const some = await measureSample(goldenSamples[0]!, gates, one);
    some.forEach((value, index) => {
      const isMeasured = [Math.floor(index / 9), index % 9].every((row) => row === 8 || heads.includes(row));
      expect(value).toBe(isMeasured ? all[index] : 0);
    });
  }
});

it('refuses to resume from heads that no order of closing has', async () => {
  const options = optionsOf('closed', { samples: 1, rounds: 1 });
  await identifyQuadratic(options);
  const state = JSON.parse(readFileSync(options.checkpointPath, 'utf8'));
  for (const closed of [
    [1, 1],
    [0, 8],
  ]) {
    writeFileSync(options.checkpointPath, JSON.stringify({ ...state, closed }));
    await expect(identifyQuadratic({ ...options, resume: true })).rejects.toThrow(
      /^Expected `closed` in .* to be different heads below 8, got others; run again with --overwrite\.$/,
    );
  }
});

describe('the method', () => {
  const scoreOptions = {
    sampleAt: (index: number) => goldenSamples[index]!,
    settings: {
      steps: 1,
      lr: 1,
      lambda: goldenLambda,
      window: goldenWindow,
      supervise: 'predict' as const,
      fullBranch: 'student' as const,
      checkpointEvery: 1,
      gatesEvery: 1,
      stableSteps: 0,
    },
    files: { metrics: join(scratch, 'metrics.jsonl'), checkpoint: join(scratch, 'method.json') },
    identity: {},
  };

  it('gives gates, a path and what its rounds did', async () => {
    const quadratic = { samples: 1, rounds: 1, step: 'finite' as const };
    const scored = await quadraticMethod.score({ ...scoreOptions, engine, quadratic });
    expect(scored.gates.flat()).toHaveLength(8);
    expect(scored.path?.lambdas).toContain(goldenLambda);
    expect(scored.provenance).toMatchObject({ quadratic, rounds: [{ stepTaken: 1 }] });
    const at = scored.path!.lambdas.indexOf(goldenLambda);
    scored.path!.gates[at]!.flat().forEach((gate, head) => {
      expect(gate).toBeCloseTo(scored.gates.flat()[head]!, 4);
    });
  });

  it('estimates memory and time', async () => {
    const quadratic = { samples: 3, rounds: 2, step: 'tangent' as const };
    const estimate = await quadraticMethod.estimate!({
      ...scoreOptions,
      engine,
      quadratic,
      shortSample: goldenSamples[0]!,
    });
    expect(estimate.memoryBytes).toBeGreaterThan(0);
    expect(estimate.seconds).toBeGreaterThan(0);
    expect(estimate.isLong).toBe(false);
  });

  it('refuses the teacher branch and an engine that cannot probe', async () => {
    const teacher = { ...scoreOptions, engine, settings: { ...scoreOptions.settings, fullBranch: 'teacher' as const } };
    await expect(quadraticMethod.score(teacher)).rejects.toThrow('Expected `fullBranch` to be student');
    const blind = { ...scoreOptions, engine: makeQuadraticEngine() };
    await expect(quadraticMethod.score(blind)).rejects.toThrow('Expected an engine that can probe heads');
  });
});
