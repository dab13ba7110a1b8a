// Flags that would change nothing: refused with exit code 2, by eval, score and bench before a model is opened, by identify before an engine is.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigError, identify } from '../../../src/index.ts';
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

describe('duo identify', () => {
  const own = mkdtempSync(join(tmpdir(), 'duo-idle-identify-'));
  afterAll(() => rmSync(own, { recursive: true }));
  const ownSamples = join(own, 'samples.jsonl');
  const out = ['--out', join(own, 'run')];
  const attention = ['--method', 'attention-mass'];

  it.each([
    [['--method', 'gates', '--quadratic-samples', '2'], '--quadratic-samples only with method quadratic'],
    [['--method', 'gates', '--quadratic-rounds', '2'], '--quadratic-rounds only with method quadratic'],
    [['--method', 'gates', '--quadratic-step', 'tangent'], '--quadratic-step only with method quadratic'],
    [['--method', 'gates', '--quadratic-vectors', '8'], '--quadratic-vectors only with method quadratic'],
    [[...attention, '--quadratic-samples', '2'], '--quadratic-samples only with method quadratic'],
    [['--method', 'quadratic', '--lr', '0.1'], '--lr only with method gates'],
    [['--method', 'quadratic', '--checkpoint-every', '4'], '--checkpoint-every only with method gates'],
    [['--keep', '0.9', '--early-stop-steps', '4'], '--early-stop-steps only with method gates'],
    [
      ['--method', 'quadratic', '--steps', '4'],
      '--steps only with method gates, attention-mass, mean-query-key or retrieval-score',
    ],
    [[...attention, '--lambda', '0.1'], '--lambda only with method gates or quadratic'],
    [[...attention, '--supervise', 'answer'], '--supervise only with method gates or quadratic'],
    [[...attention, '--full-branch', 'teacher'], '--full-branch only with method gates or quadratic'],
    [[...attention, '--distance', 'kl'], '--distance only with method gates or quadratic'],
    [['--long-range-gain', '1'], '--long-range-gain only with --objective long-range or both'],
    [
      ['--samples', 'S', '--long-range-probability', '0.5'],
      '--long-range-probability only with --objective long-range',
    ],
    [['--samples', 'S', '--held-out', 'S', '--passkeys', '2'], '--passkeys only with passkeys to make'],
    [
      ['--samples', 'S', '--held-out-samples', '0', '--templates-head', 'x'],
      '--templates-head only with passkeys to make',
    ],
    [['--samples', 'S', '--length-count', '2'], '--length-count only with samples to make'],
    [['--samples', 'S', '--held-out', 'S', '--max-tokens', '512'], '--max-tokens only with samples to make'],
    [['--held-out', 'S', '--held-out-samples', '2'], '--held-out-samples only with held-out samples to make'],
    [['--held-out-samples', '0', '--held-out-length-factor', '1'], '--held-out-length-factor only with held-out'],
    [['--held-out-samples', '0', '--documents', 'x'], '--documents only with --objective long-range or both, or a'],
    [['--held-out', 'S', '--objective', 'long-range', '--haystack', 'x'], '--haystack only with passkeys to make'],
  ])('%j', async (flags, message) => {
    writeFileSync(ownSamples, `${JSON.stringify({ tokens: [1, 2, 3, 4], answers: [[2, 3]] })}\n`);
    const given = flags.map((flag) => (flag === 'S' ? ownSamples : flag));
    const { code, stderr } = await answerOf('identify', '--model', 'demo', ...out, ...given);
    expect(stderr).toMatch(/^duo: Expected --.*, got it without; it would change nothing\.\n$/);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });

  it('lets a preset file set what does nothing, and a flag where the method is not settled yet', async () => {
    const preset = join(own, 'preset.json');
    writeFileSync(preset, JSON.stringify({ quadraticSamples: 3, longRangeGain: 1, lr: 0.5, sinkTokens: 2 }));
    // past the check, and stopped by another mistake that is found later
    const missing = ['--haystack', join(own, 'missing.txt')];
    for (const method of ['gates', 'quadratic', 'attention-mass']) {
      const args = ['identify', '--model', 'demo', ...out, '--config', preset, '--method', method, ...missing];
      expect((await answerOf(...args)).stderr).toContain('missing.txt');
    }
  });

  it('names the key where a program asks for it, and a flag that only the engine shows to be idle', async () => {
    const config = { method: 'gates', quadraticSamples: 2 };
    await expect(identify({ model: 'demo', config, refuseIdle: true })).rejects.toThrow(
      new ConfigError(
        'Expected `quadraticSamples` only with method quadratic, got it without; it would change nothing.',
      ),
    );
    const { code, stderr } = await answerOf('identify', '--model', 'demo', ...out, '--quadratic-samples', '2');
    expect(stderr).toContain('Expected --quadratic-samples only with method quadratic, got it without');
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
