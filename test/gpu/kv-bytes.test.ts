// The bytes of a cache on cuda:0, whose rows are padded, are those of the formula, for head sizes that need no padding and one that does.
import { expect, test } from 'vitest';
import { findShape } from '../../src/bench/shapes.ts';
import { countKvBytes } from '../../src/core/kv-cost.ts';
import { KV_DTYPES } from '../../src/core/session.ts';
import { openRandomNativeEngine } from '../../src/engine/native/native-engine.ts';
import { DEVICE, describeGpu } from './device.ts';

/** One small layer with two KV heads. */
function makeConfig(headDim: number) {
  const config = findShape('llama-3.2-1b', { layers: 1 });
  const shape = { ...config.shape, heads: 4, kvHeads: 2, headDim, hidden: 64, intermediate: 64, vocab: 64 };
  return { ...config, shape };
}

describeGpu('a cache on the GPU', () => {
  test.each([32, 64, 80, 96, 128])('has the bytes of the formula with head size %d', async (headDim) => {
    const config = makeConfig(headDim);
    const engine = await openRandomNativeEngine(config, { seed: 1, weightDtype: 'bf16', device: DEVICE });
    const mask = { sinkTokens: 4, windows: [[null, 16]] };
    for (const dtype of KV_DTYPES) {
      const session = await engine.openSession(mask, { maxTokens: 100, kvDtype: dtype });
      const cache = { model: engine.model, tokens: 100, dtype, device: engine.device };
      const { kvBytes, fullKvBytes } = session.memory();
      expect([dtype, kvBytes]).toEqual([dtype, countKvBytes({ ...cache, mask })]);
      expect([dtype, fullKvBytes]).toEqual([dtype, countKvBytes({ ...cache, mask: 'full' })]);
      await session.close();
    }
    await engine.close();
  });
});
