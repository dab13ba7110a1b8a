// duo bench on a small model: laws first, then a table or JSON whose bytes are the formula's.
import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { describeNative } from '../../reference/native-library.ts';
import { answerOf } from './in-process.ts';
import { GOLDEN_MODEL, ROOT, runDuo } from './run-duo.ts';

const SMALL = ['--contexts', '24', '--steps', '2', '--sink', '2', '--recent', '6', '--streaming-fraction', '0.5'];
const TENSORFLOW = ['--engine', 'tensorflow', '--backend', 'cpu', '--kv-dtype', 'f32'];

describe('duo bench', () => {
  it('checks laws, then measures full and masked', async () => {
    const { code, stdout } = await runDuo(['bench', '--model', GOLDEN_MODEL, ...SMALL, ...TENSORFLOW, '--json']);
    expect(code).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.checks).toHaveLength(5);
    for (const check of report.checks) expect(check).toMatchObject({ holds: true });
    const [at] = report.contexts;
    // maxTokens = 24 + 2 warm-up + 2 steps; 8 heads, 4 of them with 2 + 6 slots; 2 × 32 values × 4 bytes per slot
    expect(at.figures.full.kvBytes).toBe(8 * 28 * 256);
    expect(at.figures.masked.kvBytes).toBe((4 * 28 + 4 * 8) * 256);
    expect(at.expectedKvBytes).toEqual({ full: at.figures.full.kvBytes, masked: at.figures.masked.kvBytes });
    expect(at.figures.full.prefillSeconds).toBeGreaterThan(0);
    expect(at.figures.masked.stepSeconds).toHaveLength(2);
  });

  it('prints a table', async () => {
    const { code, stdout } = await runDuo(['bench', '--model', GOLDEN_MODEL, ...SMALL, ...TENSORFLOW]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/context +heads +texts +prefill s/);
    expect(stdout).toMatch(/24 tokens, mask against full: prefill [\d.]+×, decode [\d.]+×/);
    expect(stdout).toMatch(/5 laws checked before/);
  });

  it('takes several batches, and as many texts as fit', async () => {
    const given = [
      '--contexts',
      '24',
      '--steps',
      '2',
      '--device',
      'cpu',
      '--prefill-up-to',
      '0',
      '--batch',
      '1,3,most',
    ];
    const { code, stdout } = await runDuo(['bench', '--model', GOLDEN_MODEL, ...given]);
    expect(code).toBe(0);
    const texts = [...stdout.matchAll(/^ +24 {2}(full|masked) +(\d+)/gm)].map(([, mask, count]) => `${mask} ${count}`);
    expect(texts).toEqual(['full 1', 'masked 1', 'full 3', 'masked 3', 'full 64', 'masked 64']);
    const { code: refused, stderr } = await answerOf('bench', '--model', GOLDEN_MODEL, '--batch', '1,all');
    expect(refused).not.toBe(0);
    expect(stderr).toContain('--batch');
  });

  it('measures several masks and identification steps in one run', async () => {
    const flags = [
      '--contexts',
      '24',
      '--steps',
      '2',
      '--sink',
      '2',
      '--recent',
      '6',
      '--streaming-fraction',
      '0.5,0.75',
    ];
    const distill = ['--distill', '20,30'];
    const { code, stdout } = await runDuo([
      'bench',
      '--model',
      GOLDEN_MODEL,
      ...flags,
      ...distill,
      ...TENSORFLOW,
      '--json',
    ]);
    expect(code).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.checks).toHaveLength(11);
    const [at] = report.contexts;
    expect(Object.keys(at.figures)).toEqual(['full', 'streaming-0.5', 'streaming-0.75']);
    expect(at.figures['streaming-0.75'].kvBytes).toBe((2 * 28 + 6 * 8) * 256);
    expect(Object.keys(at.comparisons)).toEqual(['streaming-0.5', 'streaming-0.75']);
    expect(at.comparison).toEqual(at.comparisons['streaming-0.5']);
    expect(at.prefillOperations.full).toBeGreaterThan(at.prefillOperations['streaming-0.5']);
    expect(report.distill.map(({ tokens }: { tokens: number }) => tokens)).toEqual([20, 30]);
    for (const { seconds, operations } of report.distill) {
      expect(seconds).toHaveLength(2);
      expect(operations).toBeGreaterThan(0);
    }
  });

  it('draws masks after those of other models, in their shares of the heads', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'duo-bench-'));
    const paths = ['half', 'ladder'].map((name) => join(folder, `${name}.json`));
    const model = { architecture: 'llama', layers: 1, heads: 4, kvHeads: 4, headDim: 8, fingerprint: null };
    const common = { schema: 'duo.head-mask', model, gates: [[1, 1, 0, 0]], provenance: {}, sink: 2 };
    const half = { version: 1, recent: 6, streamingFraction: 0.5, threshold: null, mask: [[1, 1, 0, 0]] };
    const budget = { ladder: [4, 8], kvShare: 0.5, atTokens: 24, predictedLoss: 0, lossBound: null };
    writeFileSync(paths[0] as string, JSON.stringify({ ...common, ...half }));
    writeFileSync(paths[1] as string, JSON.stringify({ ...common, version: 2, windows: [[null, 8, 4, 4]], ...budget }));
    const like = paths.flatMap((path) => ['--windows-like', path]);
    const flags = ['--contexts', '24', '--steps', '2', '--json', ...like, ...TENSORFLOW];
    const { code, stdout } = await runDuo(['bench', '--model', GOLDEN_MODEL, ...flags]);
    expect(code).toBe(0);
    const [at] = JSON.parse(stdout).contexts;
    // 8 heads of 28 slots at most, of 256 bytes each
    expect(at.figures.half.kvBytes).toBe((4 * 28 + 4 * 8) * 256);
    expect(at.figures.ladder.kvBytes).toBe((2 * 28 + 2 * 10 + 4 * 6) * 256);
    const twice = [...like.slice(0, 2), ...like.slice(0, 2)];
    const refused = await answerOf('bench', '--model', GOLDEN_MODEL, ...twice, ...TENSORFLOW);
    expect(refused.stderr).toContain('Expected --windows-like files of different names, got `half` twice; rename one.');
  });

  it.each([
    [[], 'Expected --model or --shape, got neither.'],
    [['--shape', 'llama-9'], 'Expected a shape among llama-2-7b'],
    [['--shape', 'llama-3.2-1b', '--layers', '99'], 'Expected `layers` to be an integer from 1 to 16, got `99`'],
    [['--shape', 'llama-3.2-1b', '--engine', 'tensorflow'], 'Expected the native engine with --shape'],
    [['--model', GOLDEN_MODEL, '--mask', 'm', '--streaming-fraction', '1'], 'got both.'],
    [['--model', GOLDEN_MODEL, '--mask', 'm', '--windows-like', 'w'], 'Expected --mask or --windows-like, got both.'],
    [
      ['--model', GOLDEN_MODEL, '--streaming-fraction', '0.5,2'],
      'Expected --streaming-fraction to be a number from 0 to 1',
    ],
    [['--model', GOLDEN_MODEL, '--distill', '1'], 'Expected --distill to be an integer of at least 2'],
    [['--model', GOLDEN_MODEL, '--contexts', '2x'], 'Expected --contexts to be an integer'],
  ])('refuses %j with exit code 2', async (flags, message) => {
    const { code, stderr } = await answerOf('bench', ...flags);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});

describeNative('duo bench on a shape', () => {
  it('measures a mask on a shape of its size, reads fractions of k, and says what memory holds', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'duo-bench-')), 'mask.json');
    const model = {
      architecture: 'llama',
      layers: 1,
      heads: 32,
      kvHeads: 8,
      headDim: 64,
      fingerprint: `sha256:${'0'.repeat(64)}`,
    };
    const mask = [[1, 0, 0, 0, 0, 0, 0, 1]];
    const shares = { sink: 2, recent: 6, streamingFraction: 0.75, threshold: null };
    writeFileSync(
      path,
      JSON.stringify({ schema: 'duo.head-mask', version: 1, model, ...shares, mask, gates: mask, provenance: {} }),
    );
    const shape = ['--shape', 'llama-3.2-1b', '--layers', '1', '--mask', path, '--contexts', '0.03k', '--steps', '1'];
    const { code, stdout, stderr } = await runDuo([
      'bench',
      ...shape,
      '--device',
      'cpu',
      '--kv-dtype',
      'f32',
      '--json',
    ]);
    expect(code, stderr).toBe(0);
    const report = JSON.parse(stdout);
    const [at] = report.contexts;
    expect(at.context).toBe(31);
    expect(at.failed).toEqual({});
    // 31 + 2 warm-up + 1 step; 2 × 64 values × 4 bytes per slot
    expect(at.figures.masked.kvBytes).toBe((2 * 34 + 6 * 8) * 512);
    const f32 = report.capacity.rows[0];
    const room = report.capacity.memoryBytes - report.capacity.weightBytes;
    expect(f32.tokens.full).toBe(Math.floor(room / (8 * 512)));
    expect(f32.tokens.masked).toBe(Math.floor((room - 6 * 8 * 512) / (2 * 512)));
  });

  it('measures a mask where full attention does not fit, and says why under the table', async () => {
    // 64 GiB of bf16 cache against 12 GiB of addresses
    const flags = '--model demo --device cpu --contexts 16m --steps 1 --streaming-fraction 1 --prefill-up-to 0';
    const command = `ulimit -v 12000000 && exec node bin/duo.js bench ${flags}`;
    const { stdout } = await promisify(execFile)('bash', ['-c', command], { cwd: ROOT });
    const lines = stdout.split('\n');
    expect(lines[1]).toMatch(/^16777216 {2}full +– +too large$/);
    expect(lines[2]).toMatch(/^16777216 {2}masked +1 +– +[\d.]+/);
    expect(lines[3]).toMatch(/^16777216 tokens, full, too large: Expected 64\.0 GiB for the bf16 cache/);
    expect(lines.filter((line) => line.includes('against full'))).toEqual([]);
    expect(Math.max(...lines.slice(0, 3).map((line) => line.length))).toBeLessThan(120);
    expect(stdout).toMatch(/^int4 +\d+ +no bound$/m);
  });
});
