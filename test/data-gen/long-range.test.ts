// Long-range samples with a scorer whose long-range tokens are known: answers, gains, windows without any, and what is refused.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFileHaystack } from '../../data-gen/file-haystack.ts';
import {
  checkLongRangeLengths,
  findLongRange,
  generateLongRange,
  type LongRangeOrigin,
  type ScoreTokens,
} from '../../data-gen/long-range.ts';
import type { HaystackSource } from '../../src/core/haystack.ts';
import { LONG_RANGE } from '../../src/core/long-range.ts';
import { ConfigError, FormatError } from '../../src/errors/errors.ts';
import { makeWordTokenizer } from './word-tokenizer.ts';

const tokenizer = makeWordTokenizer();
const folder = mkdtempSync(join(tmpdir(), 'duo-long-range-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Documents of numbered words, a token each byte. */
const makeDocument = (name: string, words = 400): string =>
  Array.from({ length: words }, (_, index) => `${name}${index}`).join(' ');
const TEXTS = Array.from({ length: 12 }, (_, index) => makeDocument(`d${index}w`));
const write = (name: string, texts: readonly string[]): string => {
  const path = join(folder, `${name}.jsonl`);
  writeFileSync(path, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  return path;
};

let documents: HaystackSource;
beforeAll(async () => {
  documents = await openFileHaystack({ path: write('all', TEXTS), tokenizer });
});

/** Digits 7 are known to full attention alone, by 3 nats. */
const score: ScoreTokens = async (tokens, attention) =>
  tokens.slice(1).map((token) => (attention === 'streaming' && tokenizer.decode([token]) === '7' ? -4 : -1));

const origin = (more: Partial<LongRangeOrigin> = {}): LongRangeOrigin => ({
  tokenizer,
  documents,
  score,
  model: 'sha256:abc',
  window: { sinkTokens: 2, recentTokens: 6 },
  thresholds: LONG_RANGE,
  lengths: {
    minTokens: 120,
    maxTokens: 120,
    lengthCount: 1,
    lengthDraw: 'grid',
    heldOutSamples: 1,
    heldOutLengthFactor: 1,
  },
  seed: 1,
  split: 'train',
  ...more,
});

describe('findLongRange', () => {
  it('joins neighbours in one range and keeps the gain of each token', () => {
    const full = [-1, -1, -1, -3, -1];
    const streaming = [-1, -3.5, -4.25, -9, -5];
    expect(findLongRange({ full, streaming }, LONG_RANGE)).toEqual({
      answers: [
        [2, 4],
        [5, 6],
      ],
      gains: [2.5, 3.25, 4],
    });
    const low = { leastGain: 2, leastLogProb: -4 };
    expect(findLongRange({ full, streaming }, low).gains).toEqual([2.5, 3.25, 6, 4]);
  });
});

describe('generateLongRange', () => {
  it('has the tokens that only full attention knows as answers, each with its gain', async () => {
    const { sample, counts } = await generateLongRange({ ...origin(), index: 3 });
    expect(sample.tokens).toHaveLength(120);
    const wanted = sample.tokens.flatMap((token, at) => (tokenizer.decode([token]) === '7' ? [at] : []));
    expect(wanted.length).toBeGreaterThan(0);
    expect(sample.answers).toEqual(wanted.map((at) => [at, at + 1]));
    expect(sample.gains).toEqual(wanted.map(() => 3));
    expect(sample).toMatchObject({
      objective: 'long-range',
      reference: { sink: 2, recent: 6, model: 'sha256:abc' },
      length: 120,
      split: 'train',
      index: 3,
    });
    expect(counts).toEqual({ tokens: 119, longRange: wanted.length, skipped: 0 });
  });

  it('is the same sample for the same seed and index, another for another', async () => {
    const first = await generateLongRange({ ...origin(), index: 0 });
    expect(await generateLongRange({ ...origin(), index: 0 })).toEqual(first);
    expect((await generateLongRange({ ...origin(), index: 1 })).sample.tokens).not.toEqual(first.sample.tokens);
    expect((await generateLongRange({ ...origin({ seed: 2 }), index: 0 })).sample.tokens).not.toEqual(
      first.sample.tokens,
    );
  });

  it('skips windows without a long-range token, counts them, and says when there are none', async () => {
    let calls = 0;
    const late: ScoreTokens = async (tokens, attention) =>
      calls++ < 4 ? tokens.slice(1).map(() => -1) : score(tokens, attention);
    const { counts } = await generateLongRange({ ...origin({ score: late }), index: 0 });
    expect(counts).toMatchObject({ tokens: 3 * 119, skipped: 2 });
    const never: ScoreTokens = async (tokens) => tokens.slice(1).map(() => -1);
    const failed = generateLongRange({ ...origin({ score: never }), index: 0 });
    await expect(failed).rejects.toBeInstanceOf(ConfigError);
    await expect(failed).rejects.toThrow(/^Expected a window of 120 tokens with a long-range token among 16 of 12 doc/);
  });

  it('takes train and held-out windows from different documents', async () => {
    const names = async (split: 'train' | 'held-out'): Promise<Set<string>> => {
      const found = new Set<string>();
      for (let index = 0; index < 12; index++) {
        const { sample } = await generateLongRange({ ...origin({ split }), index });
        for (const [name] of tokenizer.decode(sample.tokens).matchAll(/d\d+w/g)) found.add(name);
      }
      return found;
    };
    const [train, heldOut] = [await names('train'), await names('held-out')];
    expect(train.size).toBeGreaterThan(3);
    expect(heldOut.size).toBeGreaterThan(0);
    expect([...train].filter((name) => heldOut.has(name))).toEqual([]);
  });

  it('refuses samples that a streaming head sees whole', () => {
    expect(() => checkLongRangeLengths(origin())).not.toThrow();
    const short = { ...origin().lengths, minTokens: 9 };
    expect(() => checkLongRangeLengths(origin({ lengths: short }))).toThrow(
      'Expected long-range samples of at least 10 tokens, because a streaming head sees 2 + 6 of them, got `9`',
    );
  });
});

describe('running text', () => {
  it('never stands twice in a window', async () => {
    const path = write('few', [makeDocument('a', 30), makeDocument('b', 30)]);
    const source = await openFileHaystack({ path, tokenizer });
    const few = origin({ documents: source, lengths: { ...origin().lengths, minTokens: 150, maxTokens: 150 } });
    const failed = generateLongRange({ ...few, index: 0 });
    await expect(failed).rejects.toBeInstanceOf(FormatError);
    await expect(failed).rejects.toThrow(/^Expected 149 tokens of text to learn from in .*few\.jsonl, found \d+; give/);
  });

  it('is held out by a path of its own, without what both paths name', async () => {
    const [own, other] = [write('own', TEXTS.slice(0, 8)), write('other', TEXTS.slice(6))];
    const source = await openFileHaystack({ path: own, heldOutPath: other, tokenizer });
    const words = async (split: 'train' | 'held-out'): Promise<Set<string>> => {
      const found = new Set<string>();
      for (let index = 0; index < 20; index++) {
        const { sample } = await generateLongRange({ ...origin({ documents: source, split }), index });
        for (const [name] of tokenizer.decode(sample.tokens).matchAll(/d\d+w/g)) found.add(name);
      }
      return found;
    };
    const train = await words('train');
    expect([...train].sort()).toEqual(['d0w', 'd1w', 'd2w', 'd3w', 'd4w', 'd5w']);
    for (const name of train) expect(await words('held-out')).not.toContain(name);
    const parted = await openFileHaystack({ path: own, tokenizer });
    expect(source.hash).not.toBe(parted.hash);
    await expect(openFileHaystack({ path: own, heldOutPath: own, tokenizer })).rejects.toThrow(
      /to hold text that is not in .*own\.jsonl, found none/,
    );
  });
});
