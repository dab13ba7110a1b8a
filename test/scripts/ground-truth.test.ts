// Ablation and greedy removal on the golden model, against their definitions, and their scores kept in a file.
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ablateHeads,
  convertRemovalsToGates,
  findClearBudgets,
  makeRemovedMask,
  removeGreedily,
} from '../../scripts/ground-truth/ground-truth.ts';
import { MaskScores } from '../../scripts/ground-truth/mask-scores.ts';
import { formatCurvesCsv, measureCurve, summariseCurve } from '../../scripts/ground-truth/removal-curve.ts';
import { makeHeadMask } from '../../src/core/head-mask.ts';
import type { Sample } from '../../src/core/shapes.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../src/engine/tensorflow/tensorflow-engine.ts';
import { type ModelFolder, openModelFolder } from '../../src/model/folder.ts';
import { GOLDEN_FOLDER, readGoldenSamples } from '../src/eval/golden-prompts.ts';

const out = mkdtempSync(join(tmpdir(), 'duo-ground-truth-'));
const window = { sinkTokens: 4, recentTokens: 32 };
let folder: ModelFolder;
let engine: Engine;
let samples: Sample[];
beforeAll(async () => {
  folder = openModelFolder(GOLDEN_FOLDER);
  engine = await openTensorflowEngine(folder);
  samples = readGoldenSamples().slice(0, 1);
});
afterAll(async () => {
  await engine.close();
  folder.close();
  rmSync(out, { recursive: true });
});

/** The golden engine, counting what it evaluates. */
function countEvaluations(): { counted: Engine; count: () => number } {
  let evaluations = 0;
  const counted = new Proxy(engine, {
    get(target, key) {
      const value = Reflect.get(target, key, target) as unknown;
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (key === 'evaluate') evaluations++;
        return (value as (...args: unknown[]) => unknown).apply(target, args);
      };
    },
  });
  return { counted, count: () => evaluations };
}

describe('ground truth of the golden model', () => {
  it('removes every head once, each step at least as good as any other choice there, and scores each mask once', async () => {
    const { counted, count } = countEvaluations();
    const scores = new MaskScores({ engine: counted, window, samples });
    const seen: number[] = [];
    const removed = await removeGreedily(scores, (done, total) => seen.push(done, total));
    expect(new Set(removed.map(({ layer, head }) => `${layer}.${head}`)).size).toBe(8);
    expect(seen.slice(-2)).toEqual([36, 36]);
    expect(count()).toBe(36);
    for (let step = 0; step < 8; step++) {
      const before = removed.slice(0, step);
      for (const other of removed.slice(step)) {
        const { logProb } = await scores.read(makeRemovedMask([...before, other], engine.model));
        expect(logProb[0]).toBeLessThanOrEqual((removed[step] as { logProb: number }).logProb);
      }
    }
    expect(count()).toBe(36);
    const ablations = await ablateHeads(scores);
    expect(ablations.map(({ layer, head }) => layer * 4 + head)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const cheapest = [...ablations].sort((a, b) => a.logProbLost - b.logProbLost)[0];
    expect(cheapest).toMatchObject({ layer: removed[0]?.layer, head: removed[0]?.head });
    const mask = makeHeadMask(makeRemovedMask(removed, engine.model), window);
    const direct = await engine.evaluate(samples[0] as Sample, mask);
    expect(removed.at(-1)?.logProb).toBe(direct.logProb);
  });

  it('calls a choice clear where all samples agree on it, and none from one sample', async () => {
    const [first, second] = readGoldenSamples() as [Sample, Sample];
    const alone = new MaskScores({ engine, window, samples: [first] });
    const order = await removeGreedily(alone);
    expect(await findClearBudgets(alone, order)).toEqual([]);
    // Twice the same sample has no spread: every choice is clear, but the last head, which has no other beside it.
    const twice = new MaskScores({ engine, window, samples: [first, first] });
    expect(await findClearBudgets(twice, order)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    // The other way round each choice but one of equal worth loses against another head.
    const worst = [...order].reverse();
    expect((await findClearBudgets(twice, worst)).length).toBeLessThan(7);
    const { counted, count } = countEvaluations();
    const scores = new MaskScores({ engine: counted, window, samples: [first, second] });
    const removed = await removeGreedily(scores);
    const before = count();
    const clear = await findClearBudgets(scores, removed);
    expect(count()).toBe(before);
    expect(clear.every((budget) => budget >= 1 && budget <= 7)).toBe(true);
  });

  it('measures a curve from full to all streaming and says how far it holds', async () => {
    const scores = new MaskScores({ engine, window, samples });
    const order = await removeGreedily(scores);
    const curve = await measureCurve({ task: 'samples', name: 'greedy', order, scores, samples, window });
    expect(curve.rows.map((row) => row.streaming)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(curve.rows[0]).toMatchObject({ footprint: 1, accuracy: 1, lossInterval: [0, 0] });
    const { equal, keeps90, keeps99, afterEqual } = summariseCurve(curve);
    expect(curve.rows[equal]?.accuracy).toBe(1);
    expect(afterEqual).toBeLessThan(1);
    expect(keeps99).toBeLessThanOrEqual(keeps90);
    expect(keeps90).toBeLessThan(8);
    expect(formatCurvesCsv([curve]).split('\n')).toHaveLength(11);
  });

  it('goes on with a kept file that a kill cut short, and refuses one of other samples', async () => {
    const path = join(out, 'cells.jsonl');
    const first = await removeGreedily(new MaskScores({ engine, window, samples, cellsPath: path }));
    const whole = readFileSync(path, 'utf8');
    const { counted, count } = countEvaluations();
    appendFileSync(path, '{"mask":"1010');
    const again = await removeGreedily(new MaskScores({ engine: counted, window, samples, cellsPath: path }));
    expect(again).toEqual(first);
    expect(count()).toBe(0);
    expect(readFileSync(path, 'utf8')).toBe(whole);
    const others = readGoldenSamples().slice(1, 2);
    expect(() => new MaskScores({ engine, window, samples: others, cellsPath: path })).toThrow(
      'to hold scores of these samples, window, model and engine, got others',
    );
    expect(() => new MaskScores({ engine, window, samples: [] })).toThrow('Expected at least one sample');
  });
});

it('gives orders of removal as gates whose cut is the mask of each budget', () => {
  const model = { layers: 2, kvHeads: 2 };
  const order = [
    { layer: 1, head: 0 },
    { layer: 0, head: 1 },
    { layer: 0, head: 0 },
    { layer: 1, head: 1 },
  ];
  expect(convertRemovalsToGates(order, model)).toEqual([
    [0.5, 0.25],
    [0, 0.75],
  ]);
  expect(makeRemovedMask(order.slice(0, 2), model)).toEqual([
    [1, 0],
    [0, 1],
  ]);
});
