// bench/compare-masks.mjs on the demo model: what it makes, that a second call goes on where the first ended, and what it refuses.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'duo-compare-'));
afterAll(() => rmSync(folder, { recursive: true }));
const sentences = ['The cup was on the table. ', 'Paula sang in the old forest. ', 'Felix found a stone there. '];
for (const name of ['learn', 'measure']) {
  mkdirSync(join(folder, name));
  for (const half of ['one', 'two']) {
    const text = Array.from({ length: 900 }, (_, index) => sentences[(index * index) % sentences.length]).join('');
    writeFileSync(join(folder, name, `${half}.txt`), text);
  }
}
const out = join(folder, 'out');
const SMALL = [
  ...['--model', 'demo', '--learn', join(folder, 'learn'), '--measure', join(folder, 'measure'), '--out', out],
  ...['--device', 'cpu', '--seeds', '1,2', '--windows', '4:16', '--shortest', '64', '--longest', '128', '--count', '2'],
  ...['--steps', '2', '--fractions', '0.5', '--gain-lengths', '128', '--texts', '2', '--jobs', '2'],
];

function compare(...more: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['bench/compare-masks.mjs', ...SMALL, ...more], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

describe('compare-masks', () => {
  const wanted = ['--parts', 'samples,identify,gain', '--only', 'samples/passkey,gates-passkey,random'];

  it('leaves every step where the budget is spent at once, and says so by exit code 3', async () => {
    const { code, stdout } = await compare(...wanted, '--budget-seconds', '0.001');
    expect(stdout).toContain('failed 0, left 8: samples/passkey.seed-1');
    expect(code).toBe(3);
  });

  it('runs the steps asked for, writes page and tables, and has nothing to do the second time', async () => {
    const first = await compare(...wanted);
    expect(first.stdout).toMatch(/done {4}s4r16\/gates-passkey\/seed-2\/gain \(\d+\.\d s, at \d+ s\)/);
    expect(first.code).toBe(0);
    const gain = join(out, 's4r16/random/seed-1/gain.json');
    const rows = JSON.parse(readFileSync(gain, 'utf8')).rows as { mask: string }[];
    expect(rows.map(({ mask }) => mask)).toEqual(['full', 'streaming', 'random@0.5']);
    const { lines, agreement } = JSON.parse(readFileSync(join(out, 'comparison.json'), 'utf8'));
    expect(lines.map(({ row, seed }: { row: string; seed: number }) => `${row} ${seed}`)).toEqual([
      'gates-passkey 1',
      'gates-passkey 2',
      'random 1',
      'random 2',
    ]);
    expect(lines[0].loss).toBeGreaterThan(0);
    expect(agreement.map(({ row }: { row: string }) => row)).toEqual(['gates-passkey', 'random']);
    expect(agreement[0].shares['0.5']).toBeGreaterThan(agreement[1].shares['0.5']);
    expect(readFileSync(join(out, 'comparison.html'), 'utf8')).toContain('Masks compared');
    expect(existsSync(join(out, 'agreement-seeds.csv'))).toBe(true);
    const before = statSync(gain).mtimeMs;
    const second = await compare(...wanted);
    expect(second.stdout).not.toContain('done ');
    expect(second.code).toBe(0);
    expect(statSync(gain).mtimeMs).toBe(before);
  }, 120_000);

  it('runs a step again whose result is gone, and no other', async () => {
    rmSync(join(out, 's4r16/random/seed-1/gain.json'));
    const { stdout } = await compare(...wanted);
    expect(stdout.match(/^done.*$/gm)).toHaveLength(1);
    expect(stdout).toContain('s4r16/random/seed-1/gain');
  });

  it.each([
    [['--parts', 'gain,speed'], 'Expected --parts of samples, identify, gain, tasks, stability, by-head, got speed.'],
    [['--windows', '128'], 'Expected --windows to be pairs such as 128:256, got 128.'],
    [['--jobs', '0'], 'Expected --jobs to be an integer of at least 1, got 0.'],
    [['--learn', '/nowhere'], 'Expected --learn to be a folder of documents, got /nowhere.'],
  ])('refuses %j', async (more, message) => {
    const { code, stderr } = await compare(...more);
    expect(stderr).toBe(`compare-masks: ${message}\n`);
    expect(code).toBe(2);
  });
});
