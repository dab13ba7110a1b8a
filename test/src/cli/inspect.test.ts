// duo inspect on masks: what a person reads of one window, of several, of a cut inside a tie, and of two masks side by side.
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildMask } from '../../../export/build-mask.ts';
import { writeGates } from '../../../src/formats/gates.ts';
import { writeMask } from '../../../src/formats/mask.ts';
import { makeGatesFile } from '../../export/gates-fixture.ts';
import { makeWindowsMask } from '../formats/windows-mask-fixture.ts';
import { answerOf } from './in-process.ts';
import { makeFolder } from './run-duo.ts';

const folder = makeFolder();
const windowsPath = join(folder, 'windows.json');
const otherPath = join(folder, 'other.json');
const binaryPath = join(folder, 'binary.json');
const gatesPath = join(folder, 'gates.json');

beforeAll(() => {
  writeMask(windowsPath, makeWindowsMask());
  const windows = [
    [null, 16, 8],
    [32, 8, 8],
  ];
  writeMask(otherPath, makeWindowsMask({ windows }));
  const window = { sinkTokens: 4, recentTokens: 32 };
  writeMask(
    binaryPath,
    buildMask({ gates: makeGatesFile([[0.9, 0.1]]), cut: { streamingFraction: 0.5 }, window }).file,
  );
  const effects = [[1], [0, 1], [0, 0, 1], [0, 0, 0, 1]];
  const ladder = { sink: 4, windows: [8, 32], tokens: 500, effects };
  writeGates(gatesPath, { ...makeGatesFile([[0.9, 0.1]]), ladder });
});

describe('duo inspect', () => {
  it('shows a mask of several windows: heads, KV share at the length of its cut, loss, shades', async () => {
    const { code, stdout } = await answerOf('inspect', windowsPath);
    expect(code).toBe(0);
    const lines = stdout.split('\n');
    expect(lines[0]).toBe('Mask for llama: 2 layers × 3 KV heads (6 query heads, head size 16).');
    expect(lines[1]).toBe(
      '2 of 6 KV heads keep the whole context, 4 stream (66.7 %; windows of 8, 16, 32 tokens or all; sink 4).',
    );
    expect(lines[2]).toBe(
      '2 of 6 KV heads see the whole context, 1 the 32 nearest tokens, 3 the 8 nearest; all see 4 sink tokens.',
    );
    // (2 · 1000 + 36 + 3 · 12) / 6000
    expect(lines[3]).toBe(
      'KV share 34.5 % at 1000 tokens (at most 50.0 % was asked); predicted loss 0.125, the sum of the measured effects of its windows, which no mask of that budget brings below 0.1.',
    );
    expect(stdout).toContain('    0 # . .\n    1 : . #\n# whole context   nearest tokens:   . 8   : 32\n');
  });

  it('shows one window as before', async () => {
    const { stdout } = await answerOf('inspect', binaryPath);
    expect(stdout.split('\n')[1]).toBe(
      '1 of 2 KV heads keep the whole context, 1 stream (50.0 %; streaming fraction 0.5; sink 4, recent 32).',
    );
    expect(stdout).toContain('# retrieval head (whole context)   . streaming head (sinks and recent tokens)');
  });

  it('says where a tie decided labels, and where ranks did', async () => {
    const window = { sinkTokens: 4, recentTokens: 32 };
    const cut = { streamingFraction: 0.5 };
    const path = join(folder, 'tied.json');
    writeMask(path, buildMask({ gates: makeGatesFile([[0.5, 0.5]]), cut, window }).file);
    expect((await answerOf('inspect', path)).stdout).toContain(
      'The labels of 2 heads with equal gates were decided by (layer, head) order, not by what was measured.',
    );
    const ranked = { ...makeGatesFile([[0, 0]]), path: { lambdas: [1], gates: [[[0, 0]]], ranking: [[0.75, 0.5]] } };
    writeMask(path, buildMask({ gates: ranked, cut, window }).file);
    const { stdout } = await answerOf('inspect', path);
    expect(stdout).toContain('Heads were kept by rank, the order in which they close');
    expect(stdout).not.toContain('equal gates');
    expect(stdout).toContain('    0 # .\n');
    expect(stdout).toContain('    0 0 0\n');
    expect((await answerOf('inspect', binaryPath)).stdout).not.toMatch(/by rank|equal gates/);
  });

  it('compares two masks by their windows', async () => {
    const { stdout } = await answerOf('inspect', windowsPath, otherPath);
    expect(stdout).toContain(
      'Shared over the larger number 50.0 % (overlap), over all that either has 50.0 % (Jaccard); rank correlation of the gates, 1 = same order, 1.000.',
    );
    expect(stdout).toContain("KV share at 1000 tokens: 34.5 % and 18.2 %; both keep 52.3 % of the larger's entries.");
    expect(stdout).toContain('2 heads with another window (layer.head): 0.1 (8 → 16), 1.2 (all → 8)\n');
    expect((await answerOf('inspect', windowsPath, windowsPath)).stdout).toContain('No head has another window.');
  });

  it('compares two gates by their order, their values and their cuts', async () => {
    const [first, second] = ['first.json', 'second.json'].map((name) => join(folder, name)) as [string, string];
    writeGates(first, makeGatesFile([[0.9, 0.1, 0.4, 0]]));
    writeGates(second, makeGatesFile([[0.9, 0.6, 0.4, 0]]));
    const { code, stdout } = await answerOf('inspect', first, second);
    expect(code).toBe(0);
    expect(stdout.split('\n').slice(0, 5)).toEqual([
      `Gates in ${first} and ${second}: rank correlation of what heads are cut by, 1 = same order, 0.800.`,
      'They differ by 0.1250 on average; most in 0.1 (0.1000 → 0.6000) (layer.head).',
      'Cut at streaming fraction 0.25: 3 retrieval heads each, 3 in both.',
      'Cut at streaming fraction 0.5: 2 retrieval heads each, 1 in both.',
      'Cut at streaming fraction 0.75: 1 retrieval heads each, 1 in both.',
    ]);
    expect((await answerOf('inspect', first, first)).stdout).toContain('No gate differs.');
    expect(JSON.parse((await answerOf('inspect', first, second, '--json')).stdout)).toMatchObject({
      kind: 'gates-comparison',
      meanDifference: 0.125,
    });
    const mixed = await answerOf('inspect', first, binaryPath);
    expect(mixed.code).toBe(1);
    expect(mixed.stderr).toMatch(/^duo: Expected `schema`.*binary\.json to be `duo\.gates`, got `duo\.head-mask`/);
  });

  it('names the ladder of gates, and leaves its triangle to the file', async () => {
    const { stdout } = await answerOf('inspect', gatesPath);
    expect(stdout).toContain('Effects of windows of 8, 32 tokens (sink 4), measured on samples of up to 500 tokens.');
    const { ladder } = JSON.parse((await answerOf('inspect', gatesPath, '--json')).stdout);
    expect(ladder).toEqual({ sink: 4, windows: [8, 32], tokens: 500 });
  });
});
