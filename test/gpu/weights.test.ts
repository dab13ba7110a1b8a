// --weights on cuda:0: fewer bits answer nearly as bf16 does, and name themselves.
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/engine.ts';
import { openEngine, type WeightStorage } from '../../src/engine/open-engine.ts';
import { openModelFolder } from '../../src/model/folder.ts';
import { makeFolder } from '../src/cli/run-duo.ts';
import { DEVICE, describeGpu, IS_EMULATED } from './device.ts';
import { writeRoundedFolder } from './rounded-folder.ts';

const MODEL = IS_EMULATED ? 'test/models/tiny' : 'models/demo';
const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const meanDistance = (left: ArrayLike<number>, right: ArrayLike<number>): number =>
  meanOf(Array.from(left, (value, index) => Math.abs(value - (right[index] ?? Number.NaN))));

describeGpu('weights on the GPU', () => {
  const folder = openModelFolder(MODEL);
  const engines: Engine[] = [];
  const open = async (weights: WeightStorage): Promise<Engine> => {
    const engine = await openEngine(folder, { device: DEVICE, weights });
    engines.push(engine);
    return engine;
  };
  afterAll(async () => {
    for (const engine of engines) await engine.close();
    folder.close();
  });
  const tokens = Array.from({ length: 60 }, (_, index) => 3 + ((index * 7919) % (folder.config.shape.vocab - 3)));
  /** Log-probabilities of the tokens, and the logits of a decode step after all but the last. */
  const read = async (engine: Engine): Promise<{ scores: Float32Array; logits: Float32Array }> => {
    const scores = Float32Array.from((await engine.scoreTokens?.(tokens, 'full')) ?? []);
    const session = await engine.openSession('full', { maxTokens: 64 });
    await session.prefill(tokens.slice(0, 59));
    const logits = Float32Array.from(await session.decode(tokens[59] as number));
    await session.close();
    return { scores, logits };
  };
  const readOnCpu = async (path: string): Promise<{ scores: Float32Array; logits: Float32Array }> => {
    const model = openModelFolder(path);
    const engine = await openEngine(model, { device: 'cpu' });
    const found = await read(engine);
    await engine.close();
    model.close();
    return found;
  };

  test('are those that the format holds: scores and logits of a model rounded so', { timeout: 240_000 }, async () => {
    const bf16 = await open('bf16');
    const plain = await read(bf16);
    const exact = await readOnCpu(MODEL);
    const stored = await read(await open('stored'));
    expect(stored).toEqual(plain);
    for (const weights of ['int8', 'int4'] as const) {
      const path = join(makeFolder(), weights);
      writeRoundedFolder(MODEL, path, weights);
      const rounded = await readOnCpu(path);
      const engine = await open(weights);
      const found = await read(engine);
      for (const what of ['scores', 'logits'] as const) {
        const noise = meanDistance(plain[what], exact[what]);
        const lost = meanDistance(rounded[what], exact[what]);
        expect(lost).toBeGreaterThan(0);
        // int8 rounds in one way, so that only bf16's noise remains; int4 looks for a better scale than the plain one, and loses no more than that.
        if (weights === 'int8') expect(meanDistance(found[what], rounded[what])).toBeLessThanOrEqual(2 * noise);
        else expect(meanDistance(found[what], exact[what])).toBeLessThanOrEqual(lost + 2 * noise);
        expect(meanDistance(found[what], plain[what])).toBeGreaterThan(0);
      }
      expect(engine.device).toContain(`${weights} weights`);
      expect(engine.weightBytes).toBeLessThan(bf16.weightBytes as number);
    }
  });
});
