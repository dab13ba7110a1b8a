// duo eval --tasks long-range on the demo model: which documents are scored, budgets by --gates, and refusals.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PasskeySample } from '../../../data-gen/passkey.ts';
import type { EvalRow } from '../../../src/formats/results.ts';
import { openTokenizer } from '../../../src/text/tokenizer.ts';
import { answerOf } from './in-process.ts';
import { ROOT } from './run-duo.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-eval-long-range-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);
const FLAGS = ['--gates', at('gates.json'), '--fractions', '0.5,0.75', '--lengths', '256', '--task-samples', '8'];
const evaluate = (...flags: string[]) =>
  answerOf('eval', '--model', 'demo', ...FLAGS, '--tasks', 'long-range', ...flags);

/** Texts of passkey samples, in which what is asked for stands far before. */
beforeAll(async () => {
  const made = await answerOf('generate', '--model', 'demo', '--count', '24', '--seed', '5', '--out', at('made.jsonl'));
  expect(made.code).toBe(0);
  const tokenizer = openTokenizer(join(ROOT, 'models/demo'));
  const lines = readFileSync(at('made.jsonl'), 'utf8').trimEnd().split('\n');
  const texts = lines.map((line) => tokenizer.decode((JSON.parse(line) as PasskeySample).tokens.slice(1)));
  writeFileSync(at('texts.jsonl'), texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  const model = { architecture: 'llama', layers: 4, heads: 8, kvHeads: 8, headDim: 16, fingerprint: null };
  const gates = [0.1, 0.9, 0.2, 0.3].map((first) => Array.from({ length: 8 }, (_, head) => first - 0.01 * head));
  const provenance = { method: 'quadratic', sink: 8, recent: 32 };
  writeFileSync(at('gates.json'), JSON.stringify({ schema: 'duo.gates', version: 1, model, gates, provenance }));
});

describe('duo eval --tasks long-range', () => {
  it('scores all of --held-out-documents, a row per budget, with intervals', async () => {
    const { code, stdout, stderr } = await evaluate('--held-out-documents', at('texts.jsonl'), '--json');
    expect(stderr).not.toContain('Expected');
    expect(code).toBe(0);
    const { rows } = JSON.parse(stdout) as { rows: EvalRow[] };
    expect(rows.map(({ mask }) => mask)).toEqual(['full', 'quadratic@0.5', 'quadratic@0.75']);
    for (const row of rows) {
      expect(row).toMatchObject({ task: 'long-range', length: 256, samples: 8, metric: 'kept-gain' });
      const [low, high] = row.keptGainInterval as [number, number];
      expect(low).toBeLessThanOrEqual(row.keptGain as number);
      expect(high).toBeGreaterThanOrEqual(row.keptGain as number);
    }
    expect(rows[0]?.keptGain).toBe(1);
    const half = rows[1]?.keptGainInterval as [number, number];
    expect(half[1] - half[0]).toBeGreaterThan(0);
  });

  it('scores the held-out part of --documents, which is other text', async () => {
    const whole = await evaluate('--held-out-documents', at('texts.jsonl'), '--json');
    const part = await evaluate('--documents', at('texts.jsonl'), '--json');
    expect(part.code).toBe(0);
    expect(JSON.parse(part.stdout).rows[1].loss).not.toBe(JSON.parse(whole.stdout).rows[1].loss);
  });

  it.each([
    [[], 'Expected --documents or --held-out-documents for task long-range'],
    [['--documents', at('a'), '--held-out-documents', at('b')], 'got both; leave --documents out.'],
    [['--held-out-documents', at('none')], `read haystack`],
  ])('refuses %j', async (flags, message) => {
    const { code, stdout, stderr } = await evaluate(...flags);
    expect(stderr).toContain(message);
    expect(stdout).toBe('');
    expect(code).toBeGreaterThan(0);
  });
});
