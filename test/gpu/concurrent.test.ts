// Sessions of one engine that decode at once from several threads, as `duo eval --concurrent` runs them: the same logits as one after the other.
import { expect, test } from 'vitest';
import { findShape } from '../../src/bench/shapes.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { openNativeEngine, openRandomNativeEngine } from '../../src/engine/native/native-engine.ts';
import { openModelFolder } from '../../src/model/folder.ts';
import { DEVICE, describeGpu, IS_EMULATED } from './device.ts';

const SESSIONS = 6;
const STEPS = IS_EMULATED ? 2 : 40;

/** A GPU takes products of several sizes, whose kernels are one, with more shared memory for one than for the other. */
async function openEngine(): Promise<Engine> {
  if (!IS_EMULATED) {
    return openRandomNativeEngine(findShape('llama-3-8b', { layers: 2 }), {
      device: DEVICE,
      seed: 1,
      weightDtype: 'bf16',
    });
  }
  const folder = openModelFolder('test/models/tiny');
  try {
    return await openNativeEngine(folder, { device: DEVICE });
  } finally {
    folder.close();
  }
}

describeGpu('sessions at once', () => {
  test('give the logits that they give one after the other', { timeout: 120_000 }, async () => {
    const engine = await openEngine();
    try {
      const run = async (index: number): Promise<Float32Array> => {
        const tokens = Array.from(
          { length: 20 + 7 * index },
          (_, at) => 3 + ((at * 31 + index) % (engine.model.vocab - 3)),
        );
        const session = await engine.openSession('full', { maxTokens: tokens.length + STEPS });
        try {
          let logits = await session.prefill(tokens);
          for (let step = 0; step < STEPS; step++) logits = await session.decode(3 + step, logits);
          return logits.slice();
        } finally {
          await session.close();
        }
      };
      const indices = Array.from({ length: SESSIONS }, (_, index) => index);
      const alone: Float32Array[] = [];
      for (const index of indices) alone.push(await run(index));
      expect(await Promise.all(indices.map(run))).toEqual(alone);
    } finally {
      await engine.close();
    }
  });
});
