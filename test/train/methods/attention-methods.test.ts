// The methods that read attention, on the golden model: the heads they find are the ones recall needs.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeHeadMask } from '../../../src/core/head-mask.ts';
import type { GateGrid, Sample } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { findMethod } from '../../../train/methods/index.ts';
import { scoreDistance } from '../../../train/methods/mean-query-key.ts';
import type { ScoreOptions } from '../../../train/methods/method.ts';
import { locateNeedles } from '../../../train/methods/needle-positions.ts';
import { groupHeads } from '../../../train/methods/score-samples.ts';
import { GOLDEN_FOLDER, readGoldenSamples } from '../../src/eval/golden-prompts.ts';
import { makeQuadraticEngine } from '../quadratic-engine.ts';

const out = mkdtempSync(join(tmpdir(), 'duo-methods-'));
let folder: ModelFolder;
let engine: Engine;
beforeAll(async () => {
  folder = openModelFolder(GOLDEN_FOLDER);
  engine = await openTensorflowEngine(folder);
});
afterAll(async () => {
  await engine.close();
  folder.close();
  rmSync(out, { recursive: true });
});

const samples = readGoldenSamples();
const window = { sinkTokens: 4, recentTokens: 32 };

function options(more: Partial<ScoreOptions> = {}): ScoreOptions {
  return {
    engine,
    sampleAt: (step) => samples[step % samples.length] as Sample,
    settings: {
      steps: 2,
      lr: 0.02,
      lambda: 0.05,
      window,
      supervise: 'predict',
      fullBranch: 'student',
      checkpointEvery: 10,
      gatesEvery: 10,
      stableSteps: 0,
    },
    files: { metrics: join(out, 'metrics.jsonl'), checkpoint: join(out, 'checkpoint.json') },
    identity: {},
    ...more,
  };
}

/** A mask that keeps the `count` best heads, or drops them. */
function keepBest(gates: GateGrid, count: number, kept: 0 | 1): GateGrid {
  const best = gates.flat().sort((a, b) => b - a)[count - 1] as number;
  return gates.map((row) => row.map((gate) => (gate >= best ? kept : 1 - kept)));
}

describe.each(['attention-mass', 'retrieval-score'])('%s', (name) => {
  it('finds the heads that recall needs', async () => {
    const { gates, stepsDone, provenance } = await findMethod(name).score(options());
    expect(gates.map((row) => row.length)).toEqual([4, 4]);
    for (const gate of gates.flat()) expect(gate >= 0 && gate <= 1).toBe(true);
    expect([stepsDone, provenance.samplesUsed]).toEqual([2, 2]);
    expect(existsSync(join(out, 'metrics.jsonl'))).toBe(false);
    const sample = samples[0] as Sample;
    const kept = await engine.evaluate(sample, makeHeadMask(keepBest(gates, 4, 1), window));
    const dropped = await engine.evaluate(sample, makeHeadMask(keepBest(gates, 4, 0), window));
    expect(kept.accuracy).toBe(1);
    expect(dropped.accuracy).toBeLessThan(0.5);
  });

  it('gives the same gates each time', async () => {
    const first = await findMethod(name).score(options());
    expect(await findMethod(name).score(options())).toEqual(first);
  });

  it('refuses samples whose answers stand nowhere before', async () => {
    const strange = { tokens: [1, 20, 21, 22, 23, 24, 25], answers: [[4, 7]] as Sample['answers'] };
    await expect(findMethod(name).score(options({ sampleAt: () => strange }))).rejects.toThrow(
      'Expected samples whose answers occur earlier in their text and are recalled, got none; use --method gates',
    );
  });
});

describe('mean-query-key', () => {
  it('scores every head between 1/n and 1, the same each time', async () => {
    const { gates } = await findMethod('mean-query-key').score(options());
    for (const gate of gates.flat()) {
      expect(gate).toBeGreaterThan(1 / 500);
      expect(gate).toBeLessThan(1);
    }
    expect(new Set(gates.flat()).size).toBe(8);
    expect((await findMethod('mean-query-key').score(options())).gates).toEqual(gates);
  });

  it('scores distance by the mean cumulative sum', () => {
    expect(scoreDistance([1, 0, 0, 0])).toBe(1);
    expect(scoreDistance([0, 0, 0, 1])).toBe(0.25);
    expect(scoreDistance([0.25, 0.25, 0.25, 0.25])).toBe(0.625);
  });
});

it('says what engine it needs, and stops on a signal', async () => {
  await expect(findMethod('attention-mass').score(options({ engine: makeQuadraticEngine() }))).rejects.toThrow(
    'Expected an engine that shows what heads attend to, got `tensorflow` without that',
  );
  await expect(findMethod('attention-mass').score(options({ signal: AbortSignal.abort() }))).rejects.toMatchObject({
    exitCode: 130,
  });
});

it('finds the first earlier place of an answer', () => {
  const tokens = [5, 1, 2, 3, 9, 1, 2, 3, 7, 1, 2, 3, 8, 4];
  const sample: Sample = {
    tokens,
    answers: [
      [9, 12],
      [12, 14],
      [9, 10],
    ],
  };
  expect(locateNeedles(sample)).toEqual([{ answer: [9, 12], needle: [1, 4] }]);
});

it('brings query heads together by mean or maximum, clamped', () => {
  const model = { heads: 4, kvHeads: 2 };
  expect(groupHeads([[0, 1, 0.5, 0.25]], model, 'mean')).toEqual([[0.5, 0.375]]);
  expect(groupHeads([[0, 1.5, 0.5, -1]], model, 'max')).toEqual([[1, 0.5]]);
});
