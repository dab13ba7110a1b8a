// Masks that learnt nothing: samples inside the window are refused, ties and masks no better than random ones are told.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkWidest, describeHeldWhole, listWarnings } from '../../identify/warnings.ts';
import type { EvalRow } from '../../src/formats/results.ts';
import { type Config, ConfigError, identify, type Sample } from '../../src/index.ts';
import { answerOf } from '../src/cli/in-process.ts';
import { GOLDEN_MODEL, makeFolder, runDuo } from '../src/cli/run-duo.ts';

const CUT = { mask: [[1, 0]], streamingHeads: 1, retrievalHeads: 1, tieDecided: 0 };

/** 40 tokens of which [35, 38) are the answer: the last supervised query is 36. */
const SHORT: Sample = { tokens: Array.from({ length: 40 }, (_, index) => index), answers: [[35, 38]] };
const config = (window: Partial<Config>): Partial<Config> => ({ steps: 2, heldOutSamples: 0, ...window });
const run = (window: Partial<Config>) =>
  identify({ model: GOLDEN_MODEL, engine: 'tensorflow', samples: [SHORT], config: config(window) });

describe('samples inside the window', () => {
  it('are refused with the longest of them', async () => {
    const refused = run({ sinkTokens: 4, recentTokens: 33 });
    await expect(refused).rejects.toThrow(ConfigError);
    await expect(refused).rejects.toThrow('(4 sink and 33 recent tokens) from the start, got 40 tokens at most');
  });

  it('are taken where one query has one key outside', async () => {
    expect((await run({ sinkTokens: 4, recentTokens: 32 })).steps).toBe(2);
  });
});

it('refuses a ladder whose widest window holds the longest sample', async () => {
  const windows = (widest: number) =>
    identify({
      model: 'demo',
      config: { method: 'quadratic', windows: [32, widest], heldOutSamples: 0 },
      engine: 'tensorflow',
    });
  await expect(windows(248)).rejects.toThrow('shorter than the longest sample, 256 tokens, got one of 248');
});

it('passes a ladder that leaves one token out', () => {
  expect(() => checkWidest([32, 247], { sinkTokens: 8, longestTokens: 256 })).not.toThrow();
  expect(() => checkWidest([], { sinkTokens: 8, longestTokens: 256 })).not.toThrow();
});

describe('describeHeldWhole', () => {
  const sinkTokens = 8;

  it('counts the samples that the widest window holds', () => {
    expect(describeHeldWhole([32, 248], { sinkTokens, lengths: [256, 257, 100] })).toMatch(
      /^windows of 248 tokens hide nothing in 2 of 3 samples, which are no longer; /,
    );
  });

  it('says nothing where none does, or where one window alone is measured', () => {
    expect(describeHeldWhole([32, 247], { sinkTokens, lengths: [256, 300] })).toBeNull();
    expect(describeHeldWhole([248], { sinkTokens, lengths: [256, 300] })).toBeNull();
    expect(describeHeldWhole([], { sinkTokens, lengths: [1] })).toBeNull();
  });

  it('is told before anything is measured', async () => {
    const notes: string[] = [];
    const long: Sample = { tokens: Array.from({ length: 90 }, (_, index) => index % 40), answers: [[80, 84]] };
    await identify({
      model: GOLDEN_MODEL,
      engine: 'tensorflow',
      samples: [long, SHORT],
      config: { ...config({ sinkTokens: 2, recentTokens: 4 }), method: 'quadratic', windows: [4, 40] },
      onMessage: ({ kind, text }) => void (kind === 'note' && notes.push(text)),
    });
    expect(notes).toContainEqual(expect.stringContaining('windows of 40 tokens hide nothing in 1 of 2 samples'));
  });
});

const ONE_WINDOW = { atTokens: null, longestTokens: 256 };

const row = (mask: string, logProb: number, interval: [number, number]): EvalRow =>
  ({ task: 'samples', mask, logProb, logProbInterval: interval }) as EvalRow;

describe('listWarnings', () => {
  it('says that a tie decided labels', () => {
    expect(listWarnings({ ...CUT, tieDecided: 2 }, null, ONE_WINDOW)).toEqual([
      expect.stringContaining('2 of 2 KV heads have equal gates'),
    ]);
    expect(listWarnings(CUT, null, ONE_WINDOW)).toEqual([]);
  });

  it('says that a mask was cut for a length beyond its measurement', () => {
    expect(listWarnings(CUT, null, { atTokens: 256, longestTokens: 256 })).toEqual([]);
    expect(listWarnings(CUT, null, { atTokens: 2048, longestTokens: 256 })).toEqual([
      'the mask was cut for 2048 tokens, but its windows were measured on samples of 256 at most: what they leave out beyond that is not known',
    ]);
  });

  it('says that a mask is not above random ones, by the interval and the best of them', () => {
    const random = [row('random-0', -3, [-4, -2]), row('random-1', -1.5, [-2, -1])];
    expect(listWarnings(CUT, [row('given', -1, [-1.4, -0.8]), ...random], ONE_WINDOW)).toEqual([]);
    expect(listWarnings(CUT, [row('given', -1, [-1.6, -0.8]), ...random], ONE_WINDOW)).toEqual([
      'the mask is not above random masks of its size on held-out samples: log-probability -1.000 (from -1.600), best random mask -1.500',
    ]);
  });
});

it('warns on stderr, in run.json, inspect and the report where a tie decides', async () => {
  const out = join(makeFolder(), 'run');
  // with one step of learning rate 0 every gate stays where it began
  const flags = [
    '--model',
    GOLDEN_MODEL,
    '--engine',
    'tensorflow',
    '--method',
    'gates',
    '--steps',
    '1',
    '--lr',
    '1e-12',
  ];
  const sizes = [
    '--sink',
    '4',
    '--recent',
    '32',
    '--held-out-samples',
    '0',
    '--min-tokens',
    '700',
    '--max-tokens',
    '700',
  ];
  const { code, stderr } = await runDuo(['identify', ...flags, ...sizes, '--out', out]);
  expect([code, stderr]).toEqual([0, expect.stringContaining('Warning: the cut falls inside a tie: 8 of 8 KV heads')]);
  const { results } = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'));
  expect(results.warnings).toHaveLength(1);
  expect((await answerOf('inspect', out)).stdout).toContain('Warning: the cut falls inside a tie');
  expect((await answerOf('report', out)).code).toBe(0);
  expect(readFileSync(join(out, 'report.html'), 'utf8')).toContain(
    '<p class="warning">Warning: the cut falls inside a tie',
  );
});
