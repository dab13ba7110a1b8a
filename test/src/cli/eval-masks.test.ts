// Masks of an evaluation cut from gates: those that `duo export` writes of the same file, by the ranking of a λ path where there is one.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { buildMask } from '../../../export/build-mask.ts';
import { cutWindows } from '../../../export/cut-windows.ts';
import { listEvalMasks } from '../../../src/cli/eval-masks.ts';
import { readMaskFlag } from '../../../src/cli/mask-flag.ts';
import { measureKvShare } from '../../../src/core/kv-cost.ts';
import { makeRandom } from '../../../src/core/random.ts';
import type { HeadMask } from '../../../src/core/shapes.ts';
import { writeGates } from '../../../src/formats/gates.ts';
import { readMask, toHeadMask, writeMask } from '../../../src/formats/mask.ts';
import { originOf } from '../../../src/formats/row-origin.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { makeGatesFile } from '../../export/gates-fixture.ts';
import { makeLadderGates, makeRandomLadder } from '../../export/ladder-fixture.ts';
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

describe('a run folder', () => {
  const runs = ['a', 'b'].map((name) => join(scratch, name, 'run'));
  for (const [index, run] of runs.entries()) {
    mkdirSync(run, { recursive: true });
    const model = { architecture: 'llama' as const, layers: 2, heads: 4, kvHeads: 4, headDim: 32, fingerprint: null };
    const gates = {
      ...makeGatesFile([
        [0.9, 0.1, 0.2, 0.3],
        [0.4, 0.5, 0.6, index],
      ]),
      model,
    };
    writeGates(join(run, 'gates.json'), gates);
    const window = { sinkTokens: 4, recentTokens: 32 };
    writeMask(join(run, 'mask.json'), buildMask({ gates, cut: { streamingFraction: 0.5 }, window }).file);
  }
  const [first, second] = runs as [string, string];
  const file = toHeadMask(readMask(join(first, 'mask.json')));
  const shared = { baselines: 'full', randomMasks: '1', seed: '1', allowOtherModel: true };

  it('is taken for its mask and for its gates, and every row has a name of its own', () => {
    const otherMask = [join(first, 'mask.json'), second, join(second, 'mask.json')];
    const flags = { ...shared, mask: first, otherMask, gates: [first], fractions: '0.5', sink: '4', recent: '32' };
    const masks = listEvalMasks(flags, folder);
    expect(masks.map(({ name }) => name)).toEqual(['full', 'given', 'run', 'run-2', 'run-3', 'gates@0.5']);
    expect(masks[1]?.mask).toEqual(file);
    expect(masks[3]?.mask).toEqual(toHeadMask(readMask(join(second, 'mask.json'))));
  });

  it('is taken by run and bench', () => {
    expect(readMaskFlag({ mask: first, allowOtherModel: true }, folder)).toEqual(file);
  });

  it('without a mask is refused by the name of the file', () => {
    expect(() => listEvalMasks({ ...shared, mask: scratch }, folder)).toThrow(
      `Cannot read ${join(scratch, 'mask.json')}: there is no such file or folder.`,
    );
  });
});

describe('gates with a ladder', () => {
  const file = join(scratch, 'ladder.json');
  const ladder = makeRandomLadder(makeRandom(4, 'eval-masks'), {
    heads: 8,
    windows: [8, 32, 128],
    tokens: 400,
    rank: 40,
  });
  const gates = makeLadderGates(ladder, 4);
  writeGates(file, { ...gates, model: { ...gates.model, heads: 4 } });
  const list = (more: object) =>
    listEvalMasks({ gates: [file], baselines: 'full,streaming,random', randomMasks: '1', seed: '1', ...more }, folder);

  it('are cut at KV shares, as duo export cuts them, with baselines of the same entries', () => {
    const masks = list({ kvShares: '0.4,0.2', at: '0.5k' });
    expect(masks.map(({ name }) => name)).toEqual([
      'full',
      'streaming',
      'quadratic-windows@0.4',
      'random-0@kv-0.4',
      'quadratic-windows@0.2',
      'random-0@kv-0.2',
    ]);
    const [, streaming, cut, random] = masks.map(({ mask }) => mask as HeadMask);
    expect(streaming).toEqual({
      sinkTokens: 4,
      windows: [
        [8, 8, 8, 8],
        [8, 8, 8, 8],
      ],
    });
    expect(cut).toEqual(cutWindows(ladder, { kvHeads: 4, kvShare: 0.4, atTokens: 512 }).mask);
    expect(measureKvShare(random as HeadMask, 512)).toBe(measureKvShare(cut as HeadMask, 512));
  });

  it('have the windows of the length where they go by it', () => {
    const ruled = { ...ladder, rule: { name: 'proportional' as const, namedAt: 400 } };
    const path = join(scratch, 'ruled.json');
    writeGates(path, { ...gates, ladder: ruled, model: { ...gates.model, heads: 4 } });
    const masks = list({ gates: [path], kvShares: '0.4', at: '800' });
    const [, streaming, cut] = masks.map(({ mask }) => mask as HeadMask);
    expect(streaming?.windows.flat()).toEqual(new Array(8).fill(16));
    expect(cut).toEqual(cutWindows(ruled, { kvHeads: 4, kvShare: 0.4, atTokens: 800 }).mask);
    expect(cut?.windows.flat()).toContain(16);
  });

  it('say their method, budget and draw as fields, which the names say again', () => {
    const masks = list({ kvShares: '0.4', fractions: '0.5', randomMasks: '2' });
    for (const { name, origin } of masks) expect(origin).toEqual(originOf({ mask: name }));
    expect(masks.filter(({ origin }) => origin?.method === 'random').map(({ origin }) => origin?.draw)).toEqual([
      0, 1, 0, 1,
    ]);
  });

  it('are cut at both kinds of budget, in the order of the flags', () => {
    const names = list({ kvShares: '0.4', fractions: '0.5', baselines: 'full' }).map(({ name }) => name);
    expect(names).toEqual(['full', 'quadratic@0.5', 'quadratic-windows@0.4']);
  });

  it.each([
    [{}, 'Expected --gates and --fractions or --kv-shares together, got one without the other.'],
    [{ fractions: '0.5', at: '4k' }, 'Expected --at with --kv-shares, got it alone.'],
    [{ kvShares: '0.5,2' }, 'Expected --kv-shares to be numbers from 0 to 1, got `2`.'],
    [{ kvShares: '0.01' }, 'Expected a KV share of at least 0.03 at 400 tokens'],
  ])('refuses %j', (more, message) => {
    expect(() => list(more)).toThrow(message);
  });
});
