// identify with --windows, --kv-share and --keep as a person calls it: what is printed, exit codes, what is left on disk, resume.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeNative } from '../../reference/native-library.ts';
import { answerOf } from './in-process.ts';
import { makeFolder, runDuo } from './run-duo.ts';

const demo = (out: string, ...flags: string[]): string[] => [
  ...['identify', '--model', 'demo', '--out', out, '--held-out-samples', '8', ...flags],
];

describeNative('identify with windows by head', { timeout: 120_000 }, () => {
  it('takes the method that measures them, prints the cut and its KV share, and writes mask.json version 2', async () => {
    const out = join(makeFolder(), 'run');
    const { code, stdout, stderr } = await runDuo(demo(out, '--kv-share', '0.35', '--at', '512'));
    expect(code).toBe(0);
    expect(stderr).toContain('method quadratic instead of gates');
    expect(stderr).toContain('duo: each head is measured with windows of 32, 64 tokens');
    expect(stderr).toMatch(
      /KV heads keep the whole context, .* 64 tokens, .* 32 tokens; KV share 3[0-5]\.\d % at 512 tokens;/,
    );
    expect(stdout).toMatch(/^given +\d+\.\d %/m);
    const mask = JSON.parse(readFileSync(join(out, 'mask.json'), 'utf8'));
    expect(mask).toMatchObject({ version: 2, kvShare: 0.35, atTokens: 512, ladder: [32, 64] });
    const exported = join(out, 'again.json');
    const gates = join(out, 'gates.json');
    const again = await answerOf('export', '--gates', gates, '--kv-share', '0.35', '--at', '512', '--out', exported);
    expect(again.code).toBe(0);
    expect(readFileSync(exported, 'utf8')).toBe(readFileSync(join(out, 'mask.json'), 'utf8'));
    const other = await answerOf(...demo(out, '--kv-share', '0.35', '--at', '512', '--windows', '16,64', '--resume'));
    expect(other.code).toBe(2);
    expect(other.stderr).toContain('`config.windows` was `[32,64]` and is `[16,64]`');
  });

  it('estimates by backward passes where asked, says so in gates.json, and refuses it where the engine cannot', async () => {
    const out = join(makeFolder(), 'run');
    const sketched = [
      '--method',
      'quadratic',
      '--quadratic-samples',
      '1',
      '--quadratic-vectors',
      '4',
      '--held-out-samples',
      '0',
    ];
    const { code } = await runDuo(demo(out, ...sketched));
    expect(code).toBe(0);
    const gates = JSON.parse(readFileSync(join(out, 'gates.json'), 'utf8'));
    expect(gates.provenance).toMatchObject({ config: { quadraticVectors: 4 }, quadratic: { vectors: 4 } });
    const refused = await answerOf(...demo(join(makeFolder(), 'run'), ...sketched, '--engine', 'tensorflow'));
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('`quadraticVectors` to be 0 with engine `tensorflow`');
  });

  it('prints the curve of a promise and what the smallest budget saves', async () => {
    const out = join(makeFolder(), 'run');
    const { code, stderr } = await runDuo(demo(out, '--keep', '0.95'));
    expect(code).toBe(0);
    expect(stderr).toMatch(/^KV share +recall kept +95 % interval +holds$/m);
    expect(stderr).toMatch(/^ +\d+\.\d % +1\.0000 +1\.0000 to 1\.0000 +yes$/m);
    expect(stderr).toMatch(/^The smallest budget found saves \d+\.\d % at 8K tokens\.$/m);
  });

  it('exits with 1 and the reason where no mask fits or none keeps the promise; the gates are there', async () => {
    for (const [flags, reason] of [
      [['--kv-share', '0.1'], 'Expected a KV share of at least 0.1563 at 256 tokens'],
      [['--keep', '0.9', '--held-out-samples', '2'], 'found none: too little to measure: 2 samples, of at least 8'],
    ] as const) {
      const out = join(makeFolder(), 'run');
      const { code, stderr } = await answerOf(...demo(out, ...flags));
      expect(code).toBe(1);
      expect(stderr).toContain(reason);
      expect(existsSync(join(out, 'gates.json'))).toBe(true);
      expect(existsSync(join(out, 'mask.json'))).toBe(false);
    }
  });
});

it.each([
  [
    ['--windows', '64,32'],
    'Expected `--windows` to be a list of 1 to 32 ascending integers of at least 1, or "auto", or null',
  ],
  [['--windows', '32,64', '--method', 'gates'], 'Expected `--method` to be quadratic together with `--windows`'],
  [['--kv-share', '0.3', '--method', 'gates'], 'Expected `--method` to be quadratic together with `--kv-share`'],
  [['--kv-share', '0.3', '--keep', '0.9'], 'Expected either `--kv-share` or `--keep`, got both'],
  [['--keep', '1.5'], 'Expected `--keep` to be a number from 0 to 1'],
  [
    ['--keep-of', 'luck', '--keep', '0.9'],
    'Expected `--keep-of` to be recall, gain or one of single-passkey, multi-passkey, niah,',
  ],
  [['--keep-of', 'qa_1', '--keep', '0.9'], 'got `qa_1`, which needs a file of questions'],
  [
    ['--keep-of', 'Luck', '--keep', '0.9'],
    'Expected `--keep-of` to be recall, gain or the name of a task, such as "vt"',
  ],
  [['--ladder-vectors', '8'], 'Expected `--windows` together with `--ladder-vectors`, which does nothing without it'],
  [['--keep-of', 'recall'], 'Expected `--keep` together with `--keep-of`, which does nothing without it'],
  [['--at', '8k'], 'together with `--at`, which is the length they count at, got neither'],
])('%j is wrong usage', async (flags, sentence) => {
  const out = join(makeFolder(), 'run');
  const { code, stderr } = await answerOf(...demo(out, ...flags));
  expect(stderr).toContain(sentence);
  expect(code).toBe(2);
  expect(existsSync(out)).toBe(false);
});
