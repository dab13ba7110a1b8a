// identify --window-rule as a person calls it: gates that say their rule, cuts at two lengths, the same bytes from several processes, and what it refuses.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readGates } from '../../../src/formats/gates.ts';
import { readMask } from '../../../src/formats/mask.ts';
import { describeNative } from '../../reference/native-library.ts';
import { answerOf } from './in-process.ts';
import { makeFolder, runDuo } from './run-duo.ts';

const root = makeFolder();
const identify = (out: string, ...flags: string[]): string[] => [
  ...['identify', '--model', 'demo', '--out', join(root, out), '--held-out-samples', '0'],
  ...flags,
];
const LENGTHS = ['--min-tokens', '256', '--max-tokens', '512', '--length-count', '2', '--quadratic-samples', '4'];
const RULED = [...LENGTHS, '--windows', '32,64,128', '--window-rule', 'proportional', '--kv-share', '0.3'];
const read = (out: string, name: string): string => readFileSync(join(root, out, name), 'utf8');

describeNative('identify --window-rule proportional', { timeout: 240_000 }, () => {
  it('measures shorter samples with narrower windows, and cuts for any length', async () => {
    const { code, stderr } = await runDuo(identify('one', ...RULED, '--at', '2k'));
    expect(code).toBe(0);
    expect(stderr).toContain(
      'duo: windows of 32, 64, 128 tokens are those of the longest sample, 512; shorter ones have them in proportion, the shortest, 256, 16, 32, 64.',
    );
    expect(stderr).toContain(
      'Warning: the mask was cut for 2048 tokens by windows in proportion to the length, measured on samples of 512 at most',
    );
    const { ladder } = readGates(join(root, 'one', 'gates.json'));
    const rule = { name: 'proportional', namedAt: 512 };
    expect(ladder).toMatchObject({ windows: [32, 64, 128], rule, tokens: 512 });
    expect(readMask(join(root, 'one', 'mask.json'))).toMatchObject({
      ...{ version: 2, ladder: [128, 256, 512], atTokens: 2048 },
      provenance: { windowRule: { ...rule, atTokens: 2048 }, config: { windowRule: 'proportional' } },
    });
    const gates = join(root, 'one', 'gates.json');
    const cut = (to: string, ...at: string[]) =>
      answerOf('export', '--gates', gates, '--kv-share', '0.3', ...at, '--out', join(root, 'one', to));
    const again = await cut('again.json', '--at', '2k');
    expect(again.stderr).toContain(
      ' Windows are those named at 512 tokens in proportion to the length. The effects were',
    );
    expect(read('one', 'again.json')).toBe(read('one', 'mask.json'));
    expect((await cut('named.json')).stderr).not.toContain('in proportion');
    expect(readMask(join(root, 'one', 'named.json'))).toMatchObject({ ladder: [32, 64, 128], atTokens: 512 });
    expect((await answerOf('inspect', gates)).stdout).toContain(
      'Effects of windows of 32, 64, 128 tokens at 512 tokens, elsewhere in proportion to the length (sink 8), measured',
    );
    expect((await answerOf('inspect', join(root, 'one', 'mask.json'))).stdout).toContain(
      'The windows were scaled to 2048 tokens in proportion to the length from those of 32, 64, 128 tokens at 512;',
    );
    const other = await answerOf(...identify('one', ...RULED, '--at', '2k', '--window-rule', 'fixed', '--resume'));
    expect(other.code).toBe(2);
    expect(other.stderr).toContain('`config.windowRule` was `"proportional"` and is `"fixed"`');
  });

  it('gives two processes the bytes of one', async () => {
    const joined = identify('joined', ...RULED, '--at', '2k', '--join');
    const both = await Promise.all([runDuo(joined), runDuo(joined)]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    for (const name of ['gates.json', 'mask.json']) expect(read('joined', name)).toBe(read('one', name));
  });

  it('keeps a promise along masks of the length that it is given at', async () => {
    const promise = [...RULED.slice(0, -2), '--keep', '0.9', '--at', '1k', '--held-out-samples', '8'];
    const { code, stderr } = await runDuo(identify('promise', ...promise));
    expect([code, stderr]).toEqual([0, expect.stringContaining('recall kept')]);
    const mask = readMask(join(root, 'promise', 'mask.json'));
    expect(mask.provenance.windowRule).toMatchObject({ namedAt: 512, atTokens: 1024 });
    expect(mask.version === 2 ? mask.ladder : [mask.recent]).toContain(64);
    const exported = join(root, 'promise', 'again.json');
    expect((await answerOf('export', '--gates', join(root, 'promise'), '--keep', '0.9', '--out', exported)).code).toBe(
      0,
    );
    expect(readMask(exported)).toEqual(mask);
  });
});

it.each([
  [
    ['--window-rule', 'proportional'],
    'Expected `--windows` together with `--window-rule`, which does nothing without it',
  ],
  [
    ['--window-rule', 'proportional', '--keep', '0.9', '--recent', '32'],
    'Expected `--windows` together with `--window-rule`, which does nothing without it',
  ],
  [['--window-rule', 'square', '--windows', '32'], 'Expected `--window-rule` to be one of "fixed", "proportional"'],
  [
    ['--window-rule', 'proportional', '--windows', '32,500', '--method', 'quadratic', ...LENGTHS],
    'got one of 256 tokens, which 8 sink tokens and the window of 500 at 512, 250 there, hold whole',
  ],
  [
    ['--window-rule', 'proportional', '--windows', '31,32', '--method', 'quadratic', ...LENGTHS],
    'Expected windows of 31 and 32 tokens, named at 512, to differ at 256 tokens too, got 16 for both',
  ],
])('%j is wrong usage', { timeout: 60_000 }, async (flags, sentence) => {
  const { code, stderr } = await answerOf(...identify('refused', '--engine', 'tensorflow', ...flags));
  expect(stderr).toContain(sentence);
  expect(code).toBe(2);
  expect(existsSync(join(root, 'refused'))).toBe(false);
});
