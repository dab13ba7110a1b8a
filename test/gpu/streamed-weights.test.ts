// --weights-on on cuda:0: weights streamed from pinned host memory give the bytes of weights on the device, by both methods and in text, and say so.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { DEVICE, describeGpu, IS_EMULATED } from './device.ts';

const MODEL = IS_EMULATED ? 'test/models/tiny' : 'models/demo';
const LENGTHS = IS_EMULATED ? ['--min-tokens', '112', '--max-tokens', '128', '--sink', '4', '--recent', '16'] : [];
const LIMIT_MS = 600_000;

const run = promisify(execFile);
const duoWith = (env: Record<string, string>, values: readonly string[]): Promise<{ stdout: string; stderr: string }> =>
  run(process.execPath, ['bin/duo.js', ...values, '--device', DEVICE], {
    maxBuffer: 1 << 26,
    env: { ...process.env, ...env },
  });
const duo = (...values: string[]): Promise<{ stdout: string; stderr: string }> => duoWith({}, values);

describeGpu('weights streamed from the host', () => {
  test.each([
    ['gates', ['--steps', '1']],
    ['quadratic', ['--quadratic-samples', '1']],
  ])('identify by %s', { timeout: LIMIT_MS }, async (method, flags) => {
    const folder = mkdtempSync(join(tmpdir(), 'duo-gpu-'));
    try {
      const [gates, records] = [[], []] as [unknown[], { engine: { weightsOn?: string } }[]];
      for (const place of ['device', 'host']) {
        const out = join(folder, place);
        const small = [...LENGTHS, '--held-out-samples', '0', '--seed', '7'];
        const command = ['identify', '--model', MODEL, '--method', method, ...flags, ...small, '--out', out];
        const { stderr } = await duo(...command, '--weights-on', place);
        expect(/are in pinned host memory, and each layer is copied to cuda:0/.test(stderr)).toBe(place === 'host');
        gates.push(JSON.parse(readFileSync(join(out, 'gates.json'), 'utf8')).gates);
        records.push(JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')));
      }
      expect(gates[1]).toEqual(gates[0]);
      expect(records.map(({ engine }) => engine.weightsOn)).toEqual([undefined, 'host']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('run', { timeout: LIMIT_MS }, async () => {
    const texts: unknown[] = [];
    for (const place of ['device', 'host']) {
      const command = ['run', '--model', MODEL, '--prompt', 'the cat', '--max-new-tokens', '4', '--json'];
      texts.push(JSON.parse((await duo(...command, '--weights-on', place)).stdout).text);
    }
    expect(texts[1]).toBe(texts[0]);
  });

  // On 5 MB: weights, a pass of 512 tokens and one cache of 1 MiB fit, two such caches do not, two of a quarter do. Whether all cells then find
  // memory is not asked here, but where the weights are.
  test.skipIf(!IS_EMULATED).each([
    [false, ['--concurrent', '1']],
    [true, ['--concurrent', '2']],
    [false, ['--concurrent', '2', '--kv-dtype', 'int8']],
  ])('eval by auto: %s with %j, by the caches of the cells at work', { timeout: LIMIT_MS }, async (streams, flags) => {
    const tasks = ['--tasks', 'single-passkey,niah', '--wording', 'small-vocabulary', '--task-samples', '1'];
    const command = ['eval', '--model', MODEL, ...tasks, '--lengths', '512', ...flags, '--weights-on', 'auto'];
    const { stderr } = await duoWith({ DUO_EMULATED_MEMORY: '5000000' }, command).catch(
      (error: { stderr: string }) => error,
    );
    expect(stderr).toContain('duo eval: tasks × 1 masks, engine native on cuda:0');
    expect(stderr.includes('are in pinned host memory')).toBe(streams);
  });
});
