// Samples over several engines: told in order whichever is done first, failures as of one engine, and a run's bytes for any number of engines.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { Sample } from '../../../src/core/shapes.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { identifyQuadratic } from '../../../train/quadratic/identify-quadratic.ts';
import { type ProbingEngine, requireProbing } from '../../../train/quadratic/measure-sample.ts';
import { measureOverEngines } from '../../../train/quadratic/over-engines.ts';
import { describeNative } from '../../reference/native-library.ts';
import { GOLDEN_MODEL, goldenLambda, goldenSamples, goldenWindow } from './golden-run.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-engines-'));
afterAll(() => rmSync(scratch, { recursive: true }));

/** Engines that nothing computes on. */
const engines = [{}, {}, {}] as ProbingEngine[];
const sampleOf = (index: number): Sample => ({ tokens: [index], answers: [] });

it('tells results in the order of samples, keeps every engine to one sample, and never lets progress fall', async () => {
  const told: number[] = [];
  const progress: number[] = [];
  const busy = new Set<number>();
  let most = 0;
  await measureOverEngines({
    ...{ begin: 2, end: 9, engines },
    sampleAt: sampleOf,
    async measure(sample, { index, slot, onProgress }) {
      expect(busy.has(slot)).toBe(false);
      busy.add(slot);
      most = Math.max(most, busy.size);
      onProgress(0.5);
      await new Promise((resolve) => setTimeout(resolve, index % 2 === 0 ? 15 : 2));
      busy.delete(slot);
      return Float64Array.of(sample.tokens[0]!);
    },
    onMeasured: (result, { index }) => {
      expect([...result]).toEqual([index]);
      told.push(index);
    },
    onProgress: (done) => progress.push(done),
  });
  expect(told).toEqual([2, 3, 4, 5, 6, 7, 8]);
  expect(most).toBe(3);
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
  expect(progress.at(-1)).toBe(9);
});

it('begins no sample after a failure, waits for those under way, and throws the first', async () => {
  const begun: number[] = [];
  const told: number[] = [];
  let left = 0;
  const running = measureOverEngines({
    ...{ begin: 0, end: 9, engines },
    sampleAt: sampleOf,
    async measure(_, { index }) {
      begun.push(index);
      left++;
      await new Promise((resolve) => setTimeout(resolve, index === 1 ? 5 : 20));
      left--;
      if (index === 1) throw new Error('no memory');
      return new Float64Array(0);
    },
    onMeasured: (_, { index }) => told.push(index),
    onProgress: () => {},
  });
  await expect(running).rejects.toThrow('no memory');
  expect(begun).toEqual([0, 1, 2]);
  expect(left).toBe(0);
  expect(told).toEqual([0]);
});

describeNative('a run over several engines', () => {
  it('has the bytes of one', { timeout: 120_000 }, async () => {
    const folder = openModelFolder(GOLDEN_MODEL);
    const opened: ProbingEngine[] = [];
    for (let count = 0; count < 3; count++) opened.push(requireProbing(await openNativeEngine(folder, { threads: 1 })));
    folder.close();
    const [engine, ...helpers] = opened as [ProbingEngine, ...ProbingEngine[]];
    const runOver = async (others: ProbingEngine[], ladderVectors: number): Promise<string> => {
      const result = await identifyQuadratic({
        settings: { samples: 4, rounds: 1, step: 'finite', lambda: goldenLambda, windows: [12, 24], ladderVectors },
        measure: { engine, window: goldenWindow, supervise: 'predict', signal: undefined },
        helpers: others,
        sampleAt: (index) => goldenSamples[index % goldenSamples.length]!,
        checkpointPath: join(scratch, `${others.length}-${ladderVectors}.json`),
        identity: {},
      });
      return JSON.stringify(result);
    };
    for (const vectors of [0, 4]) {
      const alone = await runOver([], vectors);
      expect(await runOver(helpers.slice(0, 1), vectors)).toBe(alone);
      expect(await runOver(helpers, vectors)).toBe(alone);
    }
    for (const each of opened) await each.close();
  });
});
