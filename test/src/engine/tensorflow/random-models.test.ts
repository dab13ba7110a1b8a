// The tensorflow engine on wasm against the float64 loops, for small random models of every architecture and awkward shapes.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTensorflowEngine } from '../../../../src/engine/tensorflow/tensorflow-engine.ts';
import { openModelFolder } from '../../../../src/model/folder.ts';
import { computeLogits } from '../../../../src/model/transformer/forward.ts';
import { loadTransformer } from '../../../../src/model/transformer/transformer.ts';
import { expectAgreement, printToleranceUse } from '../../../reference/agreement.ts';
import { RANDOM_CASES } from '../../../reference/random-cases.ts';
import { makeGates, makeTokens, writeRandomModel } from '../../../reference/random-model.ts';
import {
  type ReferenceModel,
  referenceForward,
  referenceLogits,
  referenceLoss,
} from '../../../reference/transformer.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-random-'));
afterAll(() => {
  printToleranceUse();
  rmSync(folder, { recursive: true });
});

describe.each(RANDOM_CASES)('%s', (name, overrides, count, sinkTokens, recentTokens) => {
  const path = join(folder, String(RANDOM_CASES.findIndex(([other]) => other === name)));
  const window = { sinkTokens, recentTokens };
  let model: ReferenceModel;
  let tokens: number[];
  let gates: number[][];
  beforeAll(() => {
    model = writeRandomModel(path, { seed: 7, overrides });
    tokens = makeTokens(model, count, 11);
    gates = makeGates(model, 13);
  });

  it('logits with mixed gates', async () => {
    const opened = openModelFolder(path);
    const engine = await openTensorflowEngine(opened, { backend: 'wasm' });
    const transformer = loadTransformer(opened.config, opened.weights!);
    const actual = await computeLogits(transformer, tokens, { gates, window });
    const { hidden } = referenceForward(model, tokens, { gates, window });
    const expected = referenceLogits(model, hidden).flatMap((row) => [...row]);
    expectAgreement(actual, expected, { tolerance: 'reference', label: 'logits' });
    transformer.dispose();
    await engine.close();
    opened.close();
  });

  // One token has no answer to predict.
  it.each(count > 1 ? (['student', 'teacher'] as const) : [])(
    'loss, and gradient by finite differences, full branch of the %s',
    async (fullBranch) => {
      const opened = openModelFolder(path);
      const engine = await openTensorflowEngine(opened, { backend: 'wasm' });
      const answers: [number, number][] = [[Math.max(1, count - 3), count]];
      const positions = Array.from({ length: count - answers[0]![0] }, (_, index) => answers[0]![0] - 1 + index);
      const loss = (at: number[][]): number =>
        referenceLoss(model, tokens, { positions, gates: at, window, fullBranch });
      const result = await engine.distill({ tokens, answers }, gates, window, { fullBranch });
      if (sinkTokens + recentTokens >= count) {
        // Streaming is full attention: nothing to learn. The teacher's constant is mixed in with fp32 rounding.
        const bound = fullBranch === 'student' ? 0 : 1e-10;
        expect(result.loss).toBeLessThanOrEqual(bound);
        for (const value of result.gradient.flat()) expect(Math.abs(value)).toBeLessThanOrEqual(bound);
        await engine.close();
        opened.close();
        return;
      }
      expectAgreement([result.loss], [loss(gates)], { tolerance: 'reference', label: 'loss' });
      // The long case checks two gates only: each difference is two float64 passes over all its tokens.
      const cells = gates.flatMap((row, layer) => row.map((_, kvHead) => ({ layer, kvHead })));
      const checked = count > 100 ? [cells[0]!, cells.at(-1)!] : cells;
      const step = 1e-3;
      const differences = checked.map(({ layer, kvHead }) => {
        const shift = (by: number): number[][] =>
          gates.map((row, l) => row.map((gate, k) => (l === layer && k === kvHead ? gate + by : gate)));
        return (loss(shift(step)) - loss(shift(-step))) / (2 * step);
      });
      const gradient = checked.map(({ layer, kvHead }) => result.gradient[layer]![kvHead]!);
      expectAgreement(gradient, differences, { tolerance: 'finiteDifference', label: 'finite differences' });
      await engine.close();
      opened.close();
    },
  );
});
