// The native engine against the float64 loops, for small random models of every architecture and awkward shapes.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { listModelConfigValues } from '../../../../src/engine/native/model-config.ts';
import { openNativeEngine } from '../../../../src/engine/native/native-engine.ts';
import { flattenWindows } from '../../../../src/engine/native/windows.ts';
import { openModelFolder } from '../../../../src/model/folder.ts';
import { openModel } from '../../../../src/native/model.ts';
import { expectAgreement, printToleranceUse } from '../../../reference/agreement.ts';
import { describeNative } from '../../../reference/native-library.ts';
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

describeNative.each(RANDOM_CASES)('%s', (name, overrides, count, sinkTokens, recentTokens) => {
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

  it.each([0, 3])('logits with mixed gates, windows that grow by %i from head to head', async (growth) => {
    const windows = gates.map((row, layer) => row.map((_, kvHead) => recentTokens + growth * (2 * layer + kvHead)));
    const opened = openModelFolder(path);
    const native = await openModel(listModelConfigValues(opened.config), opened.weights!.files);
    const actual = await native.logits({
      tokens: Int32Array.from(tokens),
      positions: Int32Array.from(tokens.keys()),
      gates: Float32Array.from(gates.flat()),
      windows: flattenWindows(windows),
      sinkTokens,
    });
    const { hidden } = referenceForward(model, tokens, { gates, window, windows });
    const expected = referenceLogits(model, hidden).flatMap((row) => [...row]);
    expectAgreement(actual, expected, { tolerance: 'native', label: 'logits' });
    native.close();
    opened.close();
  });

  // One token has no answer to predict.
  it.each(count > 1 ? (['student', 'teacher'] as const) : [])(
    'loss, and gradient by finite differences, full branch of the %s',
    async (fullBranch) => {
      const opened = openModelFolder(path);
      const engine = await openNativeEngine(opened);
      const answers: [number, number][] = [[Math.max(1, count - 3), count]];
      const positions = Array.from({ length: count - answers[0]![0] }, (_, index) => answers[0]![0] - 1 + index);
      const loss = (at: number[][]): number =>
        referenceLoss(model, tokens, { positions, gates: at, window, fullBranch });
      const result = await engine.distill({ tokens, answers }, gates, window, { fullBranch });
      if (sinkTokens + recentTokens >= count) {
        // Streaming is full attention: nothing to learn beyond the rounding of the mix.
        const bound = 1e-10;
        expect(result.loss).toBeLessThanOrEqual(bound);
        for (const value of result.gradient.flat()) expect(Math.abs(value)).toBeLessThanOrEqual(bound);
        await engine.close();
        opened.close();
        return;
      }
      expectAgreement([result.loss], [loss(gates)], { tolerance: 'native', label: 'loss' });
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
