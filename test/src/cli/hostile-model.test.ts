// Model folders that would hang or crash a command: each is refused in one sentence with exit code 1, and Ctrl-C ends the wait.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { answerOf } from './in-process.ts';
import { findChild, GOLDEN_MODEL, makeFolder, runDuo, until, usedSeconds } from './run-duo.ts';

const scratch = makeFolder();
afterAll(() => rmSync(scratch, { recursive: true }));

function makeModel(name: string, change: { template?: string; preTokenizer?: object; decoder?: object }): string {
  const folder = join(scratch, name);
  cpSync(GOLDEN_MODEL, folder, { recursive: true });
  if (change.template !== undefined) writeFileSync(join(folder, 'chat_template.jinja'), change.template);
  const path = join(folder, 'tokenizer.json');
  const json = JSON.parse(readFileSync(path, 'utf8')) as object;
  const rules = {
    ...(change.preTokenizer === undefined ? {} : { pre_tokenizer: change.preTokenizer }),
    ...(change.decoder === undefined ? {} : { decoder: change.decoder }),
  };
  if (Object.keys(rules).length > 0) writeFileSync(path, JSON.stringify({ ...json, ...rules }));
  return folder;
}

const ENDLESS = { Regex: '(a+)+$' };
const TEXT = `${'a'.repeat(60)}!`;
const run = (folder: string, ...flags: string[]): ReturnType<typeof answerOf> =>
  answerOf('run', '--model', folder, '--prompt', TEXT, '--max-new-tokens', '2', '--engine', 'tensorflow', ...flags);

describe('a hostile model folder', { timeout: 120_000 }, () => {
  it.each([
    [
      'loops',
      '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}',
      /^it was not done after 1 s/,
    ],
    // Collecting what it made takes processor time too: either limit may be met first.
    [
      'fills memory',
      '{% for i in range(1000000000) %}{{ i }}{% endfor %}',
      /^it (?:needed more than 512 MiB of memory|was not done after 1 s)/,
    ],
    [
      'makes a long text',
      // two long joins of a thousand, which a slow machine makes well within the second
      "{% set line = range(1000)|join('0123456789012345678901234567890123456789') %}{{ range(1000)|join(line) }}",
      /^it made more than 33554432 characters/,
    ],
  ])('whose template %s is refused', async (name, template, reason) => {
    const folder = makeModel(name.replaceAll(' ', '-'), { template });
    const { code, stdout, stderr } = await run(folder, '--chat');
    const place = join(folder, 'chat_template.jinja');
    const start = `duo: Expected the chat template in ${place} to render 1 message, but: `;
    expect(stderr.slice(0, start.length)).toBe(start);
    expect(stderr.slice(start.length)).toMatch(reason);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });

  it.each([
    ['pre_tokenizer', { preTokenizer: { type: 'Split', pattern: ENDLESS, behavior: 'Isolated', invert: false } }],
    ['Replace rule', { preTokenizer: { type: 'Replace', pattern: ENDLESS, content: 'b' } }],
  ])('whose %s never ends is refused', async (name, change) => {
    const folder = makeModel(name.replaceAll(' ', '-'), change);
    const { code, stderr } = await run(folder);
    expect(stderr).toBe(
      `duo: Expected the regular expressions of ${join(folder, 'tokenizer.json')} to be done within 1.0 s, but they were not; download the file again from where the model was published.\n`,
    );
    expect(code).toBe(1);
  });

  it.runIf(process.platform === 'linux').each([
    [
      'template',
      { template: '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}' },
      // a template runs in a process of its own
      (worker: number) => findChild(worker) !== null,
    ],
    [
      'tokenizer',
      { preTokenizer: { type: 'Split', pattern: ENDLESS, behavior: 'Isolated', invert: false } },
      // its second of processor time comes after what the start takes
      (worker: number) => usedSeconds(worker) > 0.8,
    ],
  ] as const)('whose %s never ends stops at SIGINT', async (kind, change, isBusy) => {
    const folder = makeModel(`stop-${kind}`, change);
    const flags = ['run', '--model', folder, '--prompt', TEXT, ...(kind === 'template' ? ['--chat'] : [])];
    const { code, stderr } = await runDuo(flags, {
      onStart: async (kill, pid) => {
        let worker: number | null = null;
        await until(() => {
          worker = findChild(pid);
          return worker !== null && isBusy(worker);
        });
        kill('SIGINT');
      },
    });
    expect(code).toBe(130);
    // it did not wait for the end that a second of processor time puts to it
    expect(stderr).not.toContain('Expected');
  });
});
