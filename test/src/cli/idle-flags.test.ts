// Flags that would change nothing: refused with exit code 2 before a model is opened, by eval, score and bench.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { answerOf } from './in-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-idle-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

describe('duo eval', () => {
  it.each([
    [['--samples', 'x', '--answer-cut', 'llama-3'], '--answer-cut only with --suite longbench: or kvpress:'],
    [['--suite', 'ruler:x', '--code-similarity', 'levenshtein'], '--code-similarity only with --suite longbench:'],
    [['--suite', 'ruler:x', '--lengths', '4k'], '--lengths only with --tasks'],
    [['--samples', 'x', '--task-samples', '4'], '--task-samples only with --tasks or --suite'],
    [['--tasks', 'multi-passkey', '--depths', '5'], '--depths only with a task whose needle can be moved'],
    [['--suite', 'ruler:x', '--wording', 'plain'], '--wording only with --tasks other than long-range'],
    [['--tasks', 'long-range', '--documents', 'x', '--haystack', 'y'], '--haystack only with --tasks other than'],
    [['--tasks', 'niah', '--documents', 'x'], '--documents only with task long-range'],
    [['--tasks', 'niah', '--held-out-documents', 'x'], '--held-out-documents only with task long-range'],
    [['--tasks', 'qa_2', '--squad', 'x'], '--squad only with task qa_1'],
    [['--tasks', 'qa_1', '--hotpotqa', 'x'], '--hotpotqa only with task qa_2'],
    [['--tasks', 'niah_single_2', '--essays', 'x'], '--essays only with task niah_single_2 or niah_single_3 or'],
    [['--tasks', 'niah', '--max-length', '4k'], '--max-length only with --suite'],
    [['--samples', 'x', '--chat', 'on'], '--chat only with --suite or --tasks other than long-range'],
    [['--samples', 'x', '--prefill', 'chunked'], '--prefill only with --suite or --tasks other than long-range'],
    [['--tasks', 'long-range', '--documents', 'x', '--kv-dtype', 'int4'], '--kv-dtype only with --suite or --tasks'],
    [['--samples', 'x', '--random-masks', '5'], '--random-masks only with --baselines random'],
    [['--samples', 'x', '--mask', 'y', '--recent', '64'], '--recent only with --gates and --fractions'],
  ])('%j', async (flags, message) => {
    const { code, stderr } = await answerOf('eval', '--model', 'demo', ...flags);
    expect(stderr).toMatch(/^duo: Expected .*, got it without; it would change nothing\.\n$/);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });

  it('refuses a code similarity where the suite has no code', async () => {
    writeFileSync(at('dataset2prompt.json'), '{"hotpotqa":"{context}{input}"}');
    writeFileSync(at('dataset2maxlen.json'), '{"hotpotqa":2}');
    writeFileSync(at('hotpotqa.jsonl'), '{"context":"a","input":"b","answers":["c"],"all_classes":null,"length":1}');
    const flags = ['--suite', `longbench:${at('hotpotqa.jsonl')}`, '--code-similarity', 'difflib'];
    const { code, stderr } = await answerOf('eval', '--model', 'demo', ...flags);
    expect(stderr).toContain("--code-similarity only with LongBench's lcc or repobench-p, got it without");
    expect(code).toBe(2);
  });
});

describe('duo score', () => {
  const score = (name: string, ...flags: string[]) => answerOf('score', at(name), '--suite', 'longbench', ...flags);

  it('takes the flags of LongBench where they count, and refuses them elsewhere', async () => {
    writeFileSync(at('hotpotqa.jsonl'), '{"pred":"c.assistant","answers":["c"],"all_classes":null}');
    expect((await score('hotpotqa.jsonl', '--answer-cut', 'llama-3')).stdout).toContain('100.00');
    const refused = await score('hotpotqa.jsonl', '--code-similarity', 'levenshtein');
    expect(refused.stderr).toContain("--code-similarity only with LongBench's lcc or repobench-p");
    expect([refused.code, refused.stdout]).toEqual([2, '']);
    writeFileSync(at('lcc.jsonl'), '{"pred":"        return self.x","answers":["import os"],"all_classes":null}');
    expect((await score('lcc.jsonl', '--code-similarity', 'levenshtein')).stdout).toContain('27.00');
    writeFileSync(at('vt.jsonl'), '{"pred":"c","outputs":["c"]}');
    const ruler = await answerOf('score', at('vt.jsonl'), '--suite', 'ruler', '--answer-cut', 'whole');
    expect([ruler.code, ruler.stderr]).toEqual([
      2,
      'duo: Expected --answer-cut only with sets of LongBench, got it without; it would change nothing.\n',
    ]);
  });

  it('prints rows as JSON on the scale of the suite, of a whole folder', async () => {
    const { stdout, code } = await answerOf('score', at(''), '--suite', 'longbench', '--json');
    expect([stdout, code]).toEqual(['', 1]);
    rmSync(at('vt.jsonl'));
    const whole = await answerOf('score', at(''), '--suite', 'longbench', '--json');
    expect(JSON.parse(whole.stdout).rows).toMatchObject([
      { task: 'hotpotqa', score: 0, samples: 1, metric: 'qa-f1' },
      { task: 'lcc', score: 13, samples: 1, metric: 'code-similarity-difflib' },
    ]);
  });
});

it.each([
  [['--model', 'demo', '--windows-like', 'x', '--sink', '4'], '--sink only with --streaming-fraction'],
  [['--model', 'demo', '--weights', 'f32'], '--weights to be one of stored, bf16, int8, int4'],
  [['--model', 'demo', '--mask', 'x', '--recent', '64'], '--recent only with --streaming-fraction'],
  [['--model', 'demo', '--contexts', '8k', '--chunk', '512'], '--chunk only with --contexts of at most'],
])('duo bench %j', async (flags, message) => {
  const { code, stderr } = await answerOf('bench', ...flags);
  expect(stderr).toContain(message);
  expect(code).toBe(2);
});
