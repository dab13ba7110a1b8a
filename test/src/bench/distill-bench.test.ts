import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkDistill, measureDistill } from '../../../src/bench/distill-bench.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { AbortedError } from '../../../src/errors/errors.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';

describe('measureDistill and checkDistill', () => {
  let engine: Engine;
  let folder: ModelFolder;
  const options = { tokens: 20, window: { sinkTokens: 2, recentTokens: 4 }, repeats: 2, seed: 1 };
  beforeAll(async () => {
    folder = openModelFolder('test/golden/mha-2l');
    engine = await openTensorflowEngine(folder, { backend: 'cpu' });
  });
  afterAll(async () => {
    await engine.close();
    folder.close();
  });

  it('times steps whose loss is that of a mask', async () => {
    const found = await measureDistill(engine, options);
    expect(found).toMatchObject({ tokens: 20, ...engine.estimate(20) });
    expect(found.seconds).toHaveLength(2);
    expect(found.loss).toBeGreaterThan(0);
  });

  it('finds no loss where the window holds the text, and says so where there is one', async () => {
    expect(await checkDistill(engine)).toMatchObject({ holds: true });
    const wrong: Engine = Object.assign(Object.create(engine), {
      model: engine.model,
      distill: (...values: Parameters<Engine['distill']>) =>
        engine.distill(values[0], values[1], { sinkTokens: 0, recentTokens: 1 }),
    });
    expect(await checkDistill(wrong)).toMatchObject({ holds: false });
  });

  it('stops between steps', async () => {
    const aborting = measureDistill(engine, { ...options, signal: AbortSignal.abort() });
    await expect(aborting).rejects.toThrow(AbortedError);
  });
});
