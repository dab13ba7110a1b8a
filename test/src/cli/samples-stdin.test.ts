// Samples from standard input and from a FIFO: what a file gives, for commands that read them many times.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { openSamples } from '../../../src/formats/samples.ts';
import { GOLDEN_MODEL, identifyFlags, makeFolder, runDuo, writeGoldenSamples } from './run-duo.ts';

const scratch = makeFolder();
const samples = writeGoldenSamples(scratch);
const text = readFileSync(samples, 'utf8');
afterAll(() => rmSync(scratch, { recursive: true }));
const few = `${text.split('\n').slice(0, 2).join('\n')}\n`;
const fewPath = join(scratch, 'few.jsonl');
writeFileSync(fewPath, few);

it('eval scores standard input as it scores the file', { timeout: 120_000 }, async () => {
  const flags = ['eval', '--model', GOLDEN_MODEL, '--engine', 'tensorflow', '--json', '--samples'];
  const file = await runDuo([...flags, fewPath]);
  const piped = await runDuo([...flags, '-'], { input: few });
  expect(piped.code).toBe(0);
  const rowsOf = ({ stdout }: { stdout: string }) =>
    JSON.parse(stdout).rows.map((row: object) => ({ ...row, seconds: 0 }));
  expect(rowsOf(piped)).toEqual(rowsOf(file));
  const empty = await runDuo([...flags, '-'], { input: '' });
  expect(empty.stderr).toContain('duo: Expected at least one sample in standard input, found none.');
  const wrong = await runDuo([...flags, '-'], { input: `${few}{"tokens": []}\n` });
  expect(wrong.stderr).toContain('a list of token ids in line 3 of standard input, got');
  expect([empty.code, wrong.code]).toEqual([1, 1]);
});

it('identify learns from standard input what it learns from the file, and leaves nothing behind', {
  timeout: 120_000,
}, async () => {
  const temporary = join(scratch, 'tmp');
  mkdirSync(temporary);
  const outs = ['file', 'piped'].map((name) => join(scratch, name)) as [string, string];
  await runDuo(identifyFlags({ samples, out: outs[0], steps: 2 }));
  const { code, stderr } = await runDuo(identifyFlags({ samples: '-', out: outs[1], steps: 2 }), {
    input: text,
    env: { TMPDIR: temporary },
  });
  expect(stderr).not.toContain('duo: Expected');
  expect(code).toBe(0);
  const [file, piped] = outs.map((out) => readFileSync(join(out, 'gates.json'), 'utf8'));
  expect(piped).toBe(file);
  expect(readdirSync(temporary).filter((name) => name.includes('samples'))).toEqual([]);
});

it('a FIFO is read once and its samples as often as asked', () => {
  const path = join(scratch, 'pipe');
  execFileSync('mkfifo', [path]);
  const writer = spawn('sh', ['-c', 'cat "$1" > "$2"', 'sh', samples, path]);
  const file = openSamples(path);
  const whole = openSamples(samples);
  expect(file.hash).toBe(whole.hash);
  expect(file.read(file.count - 1)).toEqual(whole.read(whole.count - 1));
  expect(file.read(0)).toEqual(whole.read(0));
  file.close();
  whole.close();
  writer.kill();
  expect(() => openSamples('/dev/null')).toThrow('Expected /dev/null to be a samples file, found a folder or a device');
});
