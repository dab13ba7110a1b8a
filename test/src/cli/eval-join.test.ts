// eval --join: two processes divide the cells of one table, and both hand out all of it; another table is refused.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { describeNative } from '../../reference/native-library.ts';
import { runDuo } from './run-duo.ts';

const root = mkdtempSync(join(tmpdir(), 'duo-eval-join-'));
afterAll(() => rmSync(root, { recursive: true }));

const asked = [
  'eval',
  '--model',
  'demo',
  '--device',
  'cpu',
  '--threads',
  '1',
  '--tasks',
  'niah,niah_single_1',
  '--task-samples',
  '2',
  '--json',
];
const out = join(root, 'cells');
const args = [...asked, '--lengths', '256,512', '--out', out, '--join'];

function run(): Promise<{ code: number | null; stdout: string }> {
  const child = spawn(process.execPath, ['bin/duo.js', ...args]);
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    stdout += part;
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout })));
}

describeNative('eval --join', () => {
  it('computes each cell once and gives every process the whole table', async () => {
    const found = await Promise.all([run(), run(), run()]);
    expect(found.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(new Set(found.map(({ stdout }) => stdout)).size).toBe(1);
    expect(JSON.parse(found[0]!.stdout).rows).toHaveLength(4);
    expect(readdirSync(join(out, 'cells')).filter((name) => name.endsWith('.json'))).toHaveLength(4);
    expect(readdirSync(join(out, 'cells')).filter((name) => name.endsWith('.claim'))).toEqual([]);
    expect(JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')).rows).toEqual(JSON.parse(found[0]!.stdout).rows);
  });

  it('refuses another table in the same folder, and a use without cells', async () => {
    const other = await runDuo([...asked, '--lengths', '256', '--out', out, '--join']);
    expect(other).toMatchObject({ code: 2 });
    expect(other.stderr).toContain(
      'but there `flags.lengths` is `"256,512"` and here `"256"`; use the same, or another --out.',
    );
    const bare = await runDuo([...asked, '--lengths', '256', '--join']);
    expect(bare.stderr).toContain('Expected --join with --out and with --tasks or --suite, whose cells it divides.');
  });
});
