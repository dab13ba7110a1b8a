// What a user runs: masks from `--device cuda:0` and `--device cpu` are equal on the demo; text decodes; the bench checks and times.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { describeGpu, IS_EMULATED } from './device.ts';

const run = promisify(execFile);
const duo = (...values: string[]): Promise<{ stdout: string }> =>
  run(process.execPath, ['bin/duo.js', ...values], { maxBuffer: 1 << 26 });

describeGpu('command line on the GPU', () => {
  // The emulation would take hours for the demo's steps.
  test.skipIf(IS_EMULATED).each(['gates', 'quadratic'])(
    'the demo gives one mask on both devices, method %s',
    async (method) => {
      const folder = mkdtempSync(join(tmpdir(), 'duo-gpu-'));
      try {
        const masks: number[][][] = [];
        for (const device of ['cpu', 'cuda:0']) {
          const out = join(folder, device.replace(':', ''));
          await duo(
            'identify',
            '--model',
            'demo',
            '--method',
            method,
            '--device',
            device,
            '--seed',
            '7',
            '--held-out-samples',
            '0',
            '--out',
            out,
          );
          masks.push(JSON.parse(readFileSync(join(out, 'mask.json'), 'utf8')).mask);
        }
        expect(masks[1]).toEqual(masks[0]);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
    600_000,
  );

  test.skipIf(IS_EMULATED)(
    'the bench checks and times a named shape',
    async () => {
      const shape = ['--shape', 'llama-3-8b', '--layers', '2', '--device', 'cuda:0'];
      const { stdout } = await duo('bench', ...shape, '--contexts', '8k', '--json');
      expect(JSON.parse(stdout)).toBeTypeOf('object');
    },
    600_000,
  );
});
