// Tasks on the demo model: sessions of the native engine, sessions of the tensorflow engine and its one-pass evaluation agree.

import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openProseHaystack } from '../../../data-gen/haystack.ts';
import { makeHeadMask } from '../../../src/core/head-mask.ts';
import { filledGrid } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import type { NamedMask } from '../../../src/eval/baselines.ts';
import { runSweep } from '../../../src/eval/sweep.ts';
import { makeTaskGroups } from '../../../src/eval/sweep-groups.ts';
import { adaptTokenizer } from '../../../src/eval/tasks/adapt-tokenizer.ts';
import { openTaskFiles } from '../../../src/eval/tasks/task-files.ts';
import { findTasks } from '../../../src/eval/tasks/task-list.ts';
import type { EvalRow } from '../../../src/formats/results.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { openTokenizer } from '../../../src/text/tokenizer.ts';
import { describeNative } from '../../reference/native-library.ts';

const DEMO = join(import.meta.dirname, '../../../models/demo');
const window = { sinkTokens: 8, recentTokens: 32 };

describeNative('the demo model', () => {
  let folder: ModelFolder;
  let engines: readonly Engine[] = [];
  beforeAll(async () => {
    folder = openModelFolder(DEMO);
    engines = [await openTensorflowEngine(folder), await openNativeEngine(folder)];
  });
  afterAll(async () => {
    for (const engine of engines) await engine.close();
    folder.close();
  });

  function sweep(engine: Engine, measure: EvalRow['measure']): Promise<EvalRow[]> {
    const tokenizer = openTokenizer(DEMO);
    const { layers, kvHeads } = engine.model;
    // layer 1 holds most of what recall needs: its heads are full, the others stream
    const mixed = makeHeadMask(
      Array.from({ length: layers }, (_, layer) => new Array<number>(kvHeads).fill(layer === 1 ? 1 : 0)),
      window,
    );
    const streaming = makeHeadMask(filledGrid(layers, kvHeads, 0), window);
    const masks: NamedMask[] = [
      { name: 'full', mask: 'full' },
      { name: 'mixed', mask: mixed },
      { name: 'streaming', mask: streaming },
    ];
    const groups = makeTaskGroups({
      tasks: findTasks(['single-passkey', 'niah']),
      lengths: [512],
      samples: 2,
      seed: 1,
      measure,
      wording: 'small-vocabulary',
      tokenizer: adaptTokenizer(tokenizer),
      haystack: openProseHaystack(tokenizer),
      files: openTaskFiles({}),
      inputsHash: '',
    });
    return runSweep({ engine, model: 'demo', tokenizer, stopTokens: [1], groups, masks, folder: null });
  }

  it.each(['teacher-forced', 'generated'] as const)('%s: the same rows, full above streaming', async (measure) => {
    const [first, second] = [await sweep(engines[0]!, measure), await sweep(engines[1]!, measure)];
    expect(first).toHaveLength(6);
    for (const [index, row] of first.entries()) {
      const other = second[index]!;
      expect([other.task, other.mask]).toEqual([row.task, row.mask]);
      expect(other.accuracy).toBeCloseTo(row.accuracy, 9);
      if (row.logProb !== null) expect(other.logProb).toBeCloseTo(row.logProb, 3);
      expect([other.footprint, other.kvBytes, other.kvDtype]).toEqual([row.footprint, row.kvBytes, row.kvDtype]);
      if (row.mask === 'full') expect(row.accuracy).toBeGreaterThanOrEqual(0.5);
      if (row.mask === 'streaming') expect(row.accuracy).toBeLessThan(0.2);
    }
  });
});
