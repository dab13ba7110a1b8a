// What heads attend to: the native engine against the tensorflow engine, which keeps whole rows of probabilities, for small random models of every
// architecture; and the methods that are made of it, on the golden model.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { Sample } from '../../../src/core/shapes.ts';
import type { AttentionRequest, Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { findMethod } from '../../../train/methods/index.ts';
import { expectAgreement, printToleranceUse } from '../../reference/agreement.ts';
import { describeNative } from '../../reference/native-library.ts';
import { RANDOM_CASES } from '../../reference/random-cases.ts';
import { makeTokens, writeRandomModel } from '../../reference/random-model.ts';
import { GOLDEN_FOLDER, readGoldenSamples } from '../eval/golden-prompts.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-attention-'));
afterAll(() => {
  printToleranceUse();
  rmSync(scratch, { recursive: true });
});

async function withEngines(path: string, compare: (engines: { native: Engine; tensorflow: Engine }) => Promise<void>) {
  const folder = openModelFolder(path);
  const native = await openNativeEngine(folder, { threads: 2 });
  const tensorflow = await openTensorflowEngine(folder);
  try {
    await compare({ native, tensorflow });
  } finally {
    await native.close();
    await tensorflow.close();
    folder.close();
  }
}

describeNative.each(RANDOM_CASES)('%s', (name, overrides, count) => {
  const path = join(scratch, String(RANDOM_CASES.findIndex(([other]) => other === name)));

  it('reads masses, top keys and mean attention as tensorflow does', async () => {
    const tokens = makeTokens(writeRandomModel(path, { seed: 7, overrides }), count, 11);
    // every third position and the last; ranges that are empty, go past the position, and hold everything
    const positions = [...tokens.keys()].filter((position) => position % 3 === 1 || position === count - 1);
    const keyRanges = positions.map((position, index): [number, number] =>
      index % 4 === 0
        ? [0, count]
        : index % 4 === 1
          ? [position, position]
          : [Math.floor(position / 2), Math.min(count, position + 2)],
    );
    await withEngines(path, async ({ native, tensorflow }) => {
      const expected = await tensorflow.readAttention!(tokens, { positions, keyRanges });
      const found = await native.readAttention!(tokens, { positions, keyRanges });
      expectAgreement(found.masses, expected.masses, { tolerance: 'golden', label: 'masses' });
      expect(found.topKeys).toEqual(expected.topKeys);
      const { layers, heads } = native.model;
      for (const [index, [begin, end]] of keyRanges.entries()) {
        const own = found.masses.subarray(index * layers * heads, (index + 1) * layers * heads);
        if (begin === end) expect(own.every((mass) => mass === 0)).toBe(true);
        if (begin === 0 && end === count) for (const mass of own) expect(mass).toBeCloseTo(1, 5);
      }
      const means = await native.attendMeans!(tokens, 40);
      expectAgreement(means, await tensorflow.attendMeans!(tokens, 40), {
        tolerance: 'golden',
        label: 'mean attention',
      });
      expect(await native.readAttention!(tokens, { positions, keyRanges })).toEqual(found);
    });
  });
});

describeNative('on the golden model', () => {
  const samples = readGoldenSamples();
  const settings = {
    steps: 2,
    lr: 0,
    lambda: 0,
    window: { sinkTokens: 4, recentTokens: 32 },
    supervise: 'predict',
    fullBranch: 'student',
  } as const;
  const frame = {
    settings: { ...settings, checkpointEvery: 1, gatesEvery: 1, stableSteps: 0 },
    identity: {},
    files: { metrics: '', checkpoint: '' },
  };

  it.each(['attention-mass', 'retrieval-score', 'mean-query-key'])(
    '%s gives the gates that tensorflow gives',
    async (name) => {
      await withEngines(GOLDEN_FOLDER, async ({ native, tensorflow }) => {
        const score = (engine: Engine) =>
          findMethod(name).score({ ...frame, engine, sampleAt: (step) => samples[step % samples.length] as Sample });
        const [found, expected] = [await score(native), await score(tensorflow)];
        expectAgreement(found.gates.flat(), expected.gates.flat(), { tolerance: 'golden', label: name });
        expect(Math.max(...found.gates.flat())).toBeGreaterThan(0.1);
        expect(found.provenance).toEqual(expected.provenance);
      });
    },
  );

  it('refuses what does not lie in the text, on both engines, in the same words', async () => {
    const wrong: [AttentionRequest, string][] = [
      [{ positions: [], keyRanges: [] }, 'Expected positions with a range of keys each, got 0 positions and 0 ranges'],
      [
        {
          positions: [2, 2],
          keyRanges: [
            [0, 1],
            [0, 1],
          ],
        },
        'Expected positions that ascend from 0 to 3, got 2',
      ],
      [{ positions: [2], keyRanges: [[1, 5]] }, 'Expected keys [begin, end) with 0 ≤ begin ≤ end ≤ 4, got [1, 5)'],
    ];
    await withEngines(GOLDEN_FOLDER, async (engines) => {
      for (const engine of Object.values(engines)) {
        for (const [request, words] of wrong)
          await expect(engine.readAttention!([1, 20, 21, 22], request)).rejects.toThrow(words);
        const abort = { signal: AbortSignal.abort() };
        await expect(
          engine.readAttention!([1, 20], { positions: [1], keyRanges: [[0, 1]] }, abort),
        ).rejects.toMatchObject({ exitCode: 130 });
      }
    });
  });
});
