// Masks of an evaluation cut from gates: those that `duo export` writes of the same file, by the ranking of a λ path where there is one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { listEvalMasks } from '../../../src/cli/eval-masks.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { GOLDEN_MODEL } from './run-duo.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-eval-masks-'));
const folder = openModelFolder(GOLDEN_MODEL);
afterAll(() => {
  folder.close();
  rmSync(scratch, { recursive: true });
});

it('cuts gates with a path by its ranking, and others by themselves', () => {
  const model = { architecture: 'llama', layers: 2, heads: 4, kvHeads: 4, headDim: 32, fingerprint: null };
  const rising = [
    [0, 0.1, 0.2, 0.3],
    [0.4, 0.5, 0.6, 0.7],
  ];
  const falling = rising.map((row) => row.map((value) => 0.7 - value));
  const ranked = { lambdas: [1], gates: [rising], ranking: falling };
  const masks = [undefined, { lambdas: [1], gates: [falling] }, ranked].map((path, index) => {
    const file = join(scratch, `gates-${index}.json`);
    const provenance = { method: 'quadratic', sink: 4, recent: 32 };
    writeFileSync(
      file,
      JSON.stringify({ schema: 'duo.gates', version: 1, model, gates: rising, ...(path && { path }), provenance }),
    );
    const flags = { gates: [file], fractions: '0.25', baselines: 'full', randomMasks: '1', seed: '1' };
    const found = listEvalMasks(flags, folder).find(({ name }) => name === 'quadratic@0.25');
    return found?.mask;
  });
  const [first, last] = [
    [
      [32, 32, null, null],
      [null, null, null, null],
    ],
    [
      [null, null, null, null],
      [null, null, 32, 32],
    ],
  ];
  expect(masks).toEqual([
    { sinkTokens: 4, windows: first },
    { sinkTokens: 4, windows: last },
    { sinkTokens: 4, windows: last },
  ]);
});
