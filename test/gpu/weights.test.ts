// --weights on cuda:0: fewer bits answer nearly as bf16 does, and name themselves.
import { afterAll, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/engine.ts';
import { openEngine, type WeightStorage } from '../../src/engine/open-engine.ts';
import { openModelFolder } from '../../src/model/folder.ts';
import { DEVICE, describeGpu, IS_EMULATED } from './device.ts';

const MODEL = IS_EMULATED ? 'test/models/tiny' : 'models/demo';
/** Mean difference of a token's log-probability, nats. A weight is off by 1/500 of its row's largest in int8 and 1/60 of its group's range in int4, in the
 * mean; some twenty roundings a model add up by squares, and a log-probability moves by at most twice a logit. */
const LIMITS = { stored: 0, int8: 0.1, int4: 0.5 } as const;

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
  const decode = async (engine: Engine): Promise<Float32Array> => {
    const session = await engine.openSession('full', { maxTokens: 64 });
    await session.prefill(tokens.slice(0, 59));
    const logits = Float32Array.from(await session.decode(tokens[59] as number));
    await session.close();
    return logits;
  };

  test('score and decode nearly as bf16 does', { timeout: 120_000 }, async () => {
    const bf16 = await open('bf16');
    const expected = await bf16.scoreTokens?.(tokens, 'full');
    const logits = await decode(bf16);
    const largest = Math.max(...logits.map(Math.abs));
    for (const weights of ['stored', 'int8', 'int4'] as const) {
      const engine = await open(weights);
      const found = await engine.scoreTokens?.(tokens, 'full');
      const differences = found?.map((value, index) => Math.abs(value - (expected?.[index] ?? Number.NaN))) ?? [];
      const mean = [...differences].reduce((sum, value) => sum + value, 0) / differences.length;
      expect(mean).toBeLessThanOrEqual(LIMITS[weights]);
      const off = (await decode(engine)).map((value, index) => Math.abs(value - (logits[index] as number)));
      expect(Math.max(...off) / largest).toBeLessThanOrEqual(LIMITS[weights]);
      if (weights === 'stored') continue;
      expect(mean).toBeGreaterThan(0);
      expect(engine.device).toContain(`${weights} weights`);
      expect(engine.weightBytes).toBeLessThan(bf16.weightBytes as number);
    }
  });
});
