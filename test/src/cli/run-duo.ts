// Runs the compiled command line in a child process, as a user does, and makes the small inputs its tests need.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** Two layers of four KV heads; recalls passkeys. */
export const GOLDEN_MODEL = join(ROOT, 'test/golden/mha-2l');

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Run `duo` to its end. @param onStart gets the child, to send it signals. */
export function runDuo(
  args: readonly string[],
  options: {
    cwd?: string;
    env?: NodeJS.ProcessEnv;
    input?: string;
    onStart?: (kill: (signal: NodeJS.Signals) => void) => void;
  } = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, 'bin/duo.js'), ...args], {
      cwd: options.cwd ?? ROOT,
      env: { ...process.env, NO_COLOR: '1', ...options.env },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    child.stdin?.on('error', () => {}).end(options.input);
    let stdout = '';
    let stderr = '';
    child.stdout?.on('data', (data: Buffer) => {
      stdout += data;
    });
    child.stderr?.on('data', (data: Buffer) => {
      stderr += data;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    options.onStart?.((signal) => child.kill(signal));
  });
}

export function makeFolder(): string {
  return mkdtempSync(join(tmpdir(), 'duo-cli-'));
}

/** The documents of the golden identification run as a samples file; returns its path. */
export function writeGoldenSamples(folder: string): string {
  const { docs } = JSON.parse(readFileSync(join(GOLDEN_MODEL, 'ident.json'), 'utf8')) as {
    docs: { ids: number[]; positions: number[] }[];
  };
  const lines = docs.map(({ ids, positions }) =>
    JSON.stringify({ tokens: ids, answers: positions.map((position) => [position + 1, position + 2]) }),
  );
  const path = join(folder, 'samples.jsonl');
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

/** Flags of a short identification of the golden model. */
export function identifyFlags(options: { samples: string; out: string; steps?: number }): string[] {
  const { samples, out, steps = 6 } = options;
  const window = ['--sink', '4', '--recent', '32', '--lambda', '0.2', '--lr', '0.05'];
  const inputs = ['identify', '--model', GOLDEN_MODEL, '--samples', samples, '--engine', 'tensorflow'];
  return [
    ...inputs,
    ...window,
    '--steps',
    `${steps}`,
    '--checkpoint-every',
    '2',
    '--held-out-samples',
    '0',
    '--out',
    out,
  ];
}
