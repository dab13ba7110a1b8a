// duo export --kv-share: cuts gates with a ladder by memory, and says in one sentence what it cannot do.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readTsv } from '../../../export/tsv.ts';
import { measureKvShare } from '../../../src/core/kv-cost.ts';
import { makeRandom } from '../../../src/core/random.ts';
import { writeGates } from '../../../src/formats/gates.ts';
import { readMask, toHeadMask } from '../../../src/formats/mask.ts';
import { makeGatesFile } from '../../export/gates-fixture.ts';
import { makeLadderGates, makeRandomLadder } from '../../export/ladder-fixture.ts';
import { answerOf } from './in-process.ts';
import { makeFolder } from './run-duo.ts';

const folder = makeFolder();
const gates = join(folder, 'gates.json');
const oneWindow = join(folder, 'one-window.json');
const plain = join(folder, 'plain.json');
const out = join(folder, 'mask.json');
const size = { heads: 12, sink: 4, tokens: 500, rank: 60 };

beforeAll(() => {
  const random = makeRandom(2, 'export');
  writeGates(gates, makeLadderGates(makeRandomLadder(random, { ...size, windows: [8, 32, 128] }), 3));
  writeGates(oneWindow, makeLadderGates(makeRandomLadder(random, { ...size, windows: [32] }), 3));
  writeGates(plain, makeGatesFile([[0.9, 0.1]]));
});

const cut = (...flags: string[]) => answerOf('export', '--gates', gates, '--out', out, ...flags);

describe('duo export --kv-share', () => {
  it('writes a mask of several windows within the share, the same bytes again', async () => {
    const { code, stderr } = await cut('--kv-share', '0.3');
    expect(code).toBe(0);
    const mask = readMask(out);
    expect(mask).toMatchObject({ version: 2, kvShare: 0.3, atTokens: 500, ladder: [8, 32, 128], sink: 4 });
    expect(measureKvShare(toHeadMask(mask), 500)).toBeLessThanOrEqual(0.3);
    expect(stderr).toMatch(
      /^\d of 12 KV heads keep the whole context, .*8 tokens; KV share 2\d\.\d % at 500 tokens; predicted loss [\d.e+-]+, the least possible is at most [\d.]+ % lower\. Written to /,
    );
    const bytes = readFileSync(out, 'utf8');
    await cut('--kv-share', '0.3', '--at', '500');
    expect(readFileSync(out, 'utf8')).toBe(bytes);
  });

  it('counts at --at, and says where that lies beyond what was measured', async () => {
    const { stderr } = await cut('--kv-share', '0.3', '--at', '0.5k');
    expect(readMask(out)).toMatchObject({ kvShare: 0.3, atTokens: 512 });
    expect(stderr).toContain('KV share');
    expect(stderr).toContain('at 512 tokens; ');
    expect(stderr).toContain(' The effects were measured on samples of up to 500 tokens.');
    expect((await cut('--kv-share', '0.3')).stderr).not.toContain('were measured on');
  });

  it('tells the cut as JSON', async () => {
    const { stdout } = await cut('--kv-share', '0.3', '--json');
    const { predictedLoss, lossBound, keptShare, ...rest } = JSON.parse(stdout);
    expect(rest).toEqual({ out, kvShare: 0.3, atTokens: 500, tieDecided: 0 });
    expect(lossBound).toBeLessThanOrEqual(predictedLoss);
    expect(keptShare).toBeLessThanOrEqual(0.3);
  });

  it('writes version 1 where one window suffices, and its labels as a pattern', async () => {
    const flags = ['--gates', oneWindow, '--kv-share', '0.3', '--out'];
    expect((await answerOf('export', ...flags, out)).code).toBe(0);
    const mask = readMask(out);
    if (mask.version !== 1) throw new Error('expected version 1');
    expect(mask).toMatchObject({ recent: 32, streamingFraction: null, threshold: null });
    expect(mask.provenance.budget).toMatchObject({ kvShare: 0.3, atTokens: 500 });
    expect((await answerOf('inspect', out)).stdout).toMatch(
      /KV share 2\d\.\d % at 500 tokens \(at most 30\.0 % was asked\)/,
    );
    const pattern = join(folder, 'pattern');
    expect((await answerOf('export', ...flags, pattern, '--format', 'tsv')).code).toBe(0);
    expect(readTsv(join(pattern, 'full_attention_heads.tsv'))).toEqual(mask.mask);
    expect(JSON.parse(readFileSync(join(pattern, 'config.json'), 'utf8'))).toMatchObject({
      sparsity: mask.mask.flat().filter((label) => label === 0).length / 12,
      recent_size: 32,
    });
  });

  it('refuses a pattern of several windows and leaves no folder', async () => {
    const pattern = join(folder, 'refused');
    const { code, stderr } = await answerOf(
      ...['export', '--gates', gates, '--kv-share', '0.3', '--format', 'tsv', '--out', pattern],
    );
    expect([code, existsSync(pattern)]).toEqual([2, false]);
    expect(stderr).toContain(
      'Expected a mask of one window for --format tsv, which has no place for more, got windows of several sizes; write json, or cut by --streaming-fraction.',
    );
  });

  it('ends with 1 where no mask fits, naming the least share', async () => {
    const { code, stderr } = await cut('--kv-share', '0.01');
    expect(code).toBe(1);
    expect(stderr).toContain('Expected a KV share of at least 0.024 at 500 tokens');
  });

  it.each([
    [
      ['--kv-share', '0.3', '--streaming-fraction', '0.5'],
      'Expected one cut, got both --kv-share and --streaming-fraction.',
    ],
    [['--kv-share', '0.3', '--threshold', '0.5'], 'Expected one cut, got both --kv-share and --threshold.'],
    [['--kv-share', '0.3', '--lambda', '0.5'], 'Expected one cut, got both --kv-share and --lambda.'],
    [
      ['--kv-share', '0.3', '--recent', '64'],
      'Expected --kv-share without --recent, got both; sinks and windows are those measured.',
    ],
    [['--at', '4k', '--threshold', '0.5'], 'Expected --at with --kv-share, got it alone.'],
    [['--kv-share', '1.5'], 'Expected --kv-share to be a number from 0 to 1, got `1.5`.'],
    [['--kv-share', '0.3', '--at', '0'], 'Expected --at to be an integer of at least 1, got `0`.'],
    [[], 'Expected a cut, --kv-share, --keep, --streaming-fraction or --threshold, got none.'],
  ])('refuses %j', async (flags, message) => {
    const { code, stderr } = await cut(...flags);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });

  it('refuses gates without a ladder', async () => {
    const { code, stderr } = await answerOf('export', '--gates', plain, '--out', out, '--kv-share', '0.3');
    expect(code).toBe(2);
    expect(stderr).toContain(
      'Expected gates with the effects of a ladder of windows to cut by a KV share, found none;',
    );
  });
});
