// duo generate --objective long-range on the demo model, whose long-range tokens are known: passkeys in a text of its own wording.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LongRangeSample } from '../../../data-gen/long-range.ts';
import type { PasskeySample } from '../../../data-gen/passkey.ts';
import { loadPreset } from '../../../src/config/presets.ts';
import { readSamplesMeta } from '../../../src/formats/samples.ts';
import { openTokenizer } from '../../../src/text/tokenizer.ts';
import { answerOf } from './in-process.ts';
import { ROOT } from './run-duo.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-generate-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);
const generate = (...flags: string[]) => answerOf('generate', '--model', 'demo', ...flags);
const read = <Item>(name: string): Item[] =>
  readFileSync(at(name), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Item);
const LONG_RANGE = ['--objective', 'long-range', '--documents', at('texts.jsonl')];

/** Texts of passkey samples: what the questions at their ends ask for stands far before. */
beforeAll(async () => {
  const made = await generate('--count', '12', '--seed', '5', '--out', at('passkeys.jsonl'));
  expect(made.code).toBe(0);
  const tokenizer = openTokenizer(join(ROOT, 'models/demo'));
  const texts = read<PasskeySample>('passkeys.jsonl').map(({ tokens }) => tokenizer.decode(tokens.slice(1)));
  writeFileSync(at('texts.jsonl'), texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
});

describe('duo generate --objective long-range', () => {
  it('finds the passkeys, writes their gains, and says what share of tokens they are; the same bytes twice', async () => {
    const { code, stderr } = await generate(...LONG_RANGE, '--count', '3', '--out', at('a.jsonl'));
    expect(stderr).toMatch(/^\d+ of 765 tokens \(\d+\.\d\d %\) are long-range; 0 windows without any were skipped\.$/m);
    expect(code).toBe(0);
    const tokenizer = openTokenizer(join(ROOT, 'models/demo'));
    const { alphabet } = loadPreset('demo').config;
    for (const sample of read<LongRangeSample>('a.jsonl')) {
      expect(sample).toMatchObject({ objective: 'long-range', reference: { sink: 8, recent: 32 }, length: 256 });
      const found = sample.answers.flatMap(([start, end]) => sample.tokens.slice(start, end));
      const words = found.map((token) => tokenizer.decode([token]).trim());
      expect(words.length).toBeGreaterThan(10);
      expect(words.filter((word) => alphabet.includes(word)).length / words.length).toBeGreaterThan(0.7);
      expect(sample.gains).toHaveLength(words.length);
      for (const gain of sample.gains) expect(gain).toBeGreaterThan(2);
    }
    const { provenance } = readSamplesMeta(at('a.jsonl'));
    expect(provenance).toMatchObject({
      objective: 'long-range',
      settings: { longRangeGain: 2 },
      found: { skipped: 0 },
    });
    await generate(...LONG_RANGE, '--count', '3', '--out', at('b.jsonl'));
    expect(readFileSync(at('b.jsonl'))).toEqual(readFileSync(at('a.jsonl')));
  });

  it('takes other thresholds, and fails in one sentence where no token passes them', async () => {
    const { stderr, code } = await generate(...LONG_RANGE, '--long-range-gain', '90', '--out', at('none.jsonl'));
    expect(stderr).toMatch(/^duo: Expected a window of 256 tokens with a long-range token among 16 of 12 documents/m);
    expect(code).toBe(2);
  });

  it('takes turns with passkeys where both are asked for', async () => {
    const flags = ['--objective', 'both', '--documents', at('texts.jsonl'), '--count', '4', '--json'];
    const { code, stdout } = await generate(...flags, '--out', at('both.jsonl'));
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ count: 4, found: { tokens: 510 } });
    const kinds = read<{ objective?: string; passkeys?: string[] }>('both.jsonl').map(({ objective }) => objective);
    expect(kinds).toEqual([undefined, 'long-range', undefined, 'long-range']);
  });

  it.each([
    [['--documents', 'x.txt'], 'Expected --documents only with --objective long-range or both, got it with `passkey`'],
    [['--device', 'cpu'], 'Expected --device only with --objective long-range or both'],
    [['--objective', 'long-range', '--haystack', 'x.txt'], 'Expected --haystack only with --objective passkey or both'],
    // The corpus of the package is in no words that the demo knows.
    [
      ['--objective', 'long-range'],
      'among 16 of 12 documents, 448736 characters to learn from and 99438 held out, found none',
    ],
    [['--objective', 'short'], 'Expected `--objective` to be one of "passkey", "long-range", "both", got `short`'],
    [[...LONG_RANGE, '--min-tokens', '40', '--max-tokens', '40'], 'Expected long-range samples of at least 42 tokens'],
    [[...LONG_RANGE, '--max-tokens', '3000', '--min-tokens', '3000'], 'Expected 2999 tokens of text to learn from in'],
  ])('%j is refused', async (flags, sentence) => {
    const { stderr, code } = await generate(...flags, '--count', '1', '--out', at('refused.jsonl'));
    expect(stderr).toContain(sentence);
    expect(code).not.toBe(0);
  });
});
