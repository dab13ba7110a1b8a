// Rows of a samples file from the real engine on the golden model.
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { evaluateSamples } from '../../../src/eval/evaluate-samples.ts';
import { evalRowSchema } from '../../../src/formats/results.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { GOLDEN_FOLDER, readGoldenSamples, STREAMING } from './golden-prompts.ts';

let folder: ModelFolder;
let engine: Engine;
beforeAll(async () => {
  folder = openModelFolder(GOLDEN_FOLDER);
  engine = await openTensorflowEngine(folder);
});
afterAll(async () => {
  await engine.close();
  folder.close();
});

const samples = readGoldenSamples().slice(0, 2);

it('gives a row per mask, weighted by answer tokens', async () => {
  const progress: number[] = [];
  const masks = [
    { name: 'full', mask: 'full' as const },
    { name: 'streaming', mask: STREAMING },
  ];
  const rows = await evaluateSamples({
    engine,
    samples,
    masks,
    onProgress: (done, total) => progress.push(done / total),
  });
  expect(rows.map((row) => [row.task, row.mask])).toEqual([
    ['samples', 'full'],
    ['samples', 'streaming'],
  ]);
  for (const row of rows) expect(evalRowSchema.parse(row)).toEqual(row);
  const [full, streaming] = rows as [(typeof rows)[0], (typeof rows)[0]];
  expect(full.accuracy).toBe(1);
  expect(streaming.accuracy).toBeLessThan(0.5);
  const single = await Promise.all(samples.map((sample) => engine.evaluate(sample, STREAMING)));
  const weights = samples.map((sample) => sample.answers.reduce((sum, [start, end]) => sum + end - start, 0));
  const total = weights.reduce((a, b) => a + b, 0);
  const mean = single.reduce((sum, one, index) => sum + one.logProb * (weights[index] as number), 0) / total;
  expect(streaming.logProb).toBeCloseTo(mean, 10);
  expect(streaming.answerTokens).toBe(total);
  expect(streaming.footprint).toBeLessThan(full.footprint);
  expect(progress).toEqual([0.25, 0.5, 0.75, 1]);
});

it('refuses an empty list, a sample without answers and a stopped signal', async () => {
  const masks = [{ name: 'full', mask: 'full' as const }];
  await expect(evaluateSamples({ engine, samples: [], masks })).rejects.toThrow('at least one sample');
  const bare = [{ tokens: [1, 2], answers: [] }];
  await expect(evaluateSamples({ engine, samples: bare, masks })).rejects.toThrow(
    'Expected sample 1 to have an answer range',
  );
  await expect(evaluateSamples({ engine, samples, masks, signal: AbortSignal.abort() })).rejects.toMatchObject({
    exitCode: 130,
  });
});
