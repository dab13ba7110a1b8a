// Runs the compiled command line in a child process, as a user does, and makes the small inputs its tests need.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readStat } from '../../../src/core/process-life.ts';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** Two layers of four KV heads; recalls passkeys. */
export const GOLDEN_MODEL = join(ROOT, 'test/golden/mha-2l');

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Run `duo` to its end. @param onStart gets a way to send it signals, and its process number.  @param onStdout hears of each piece of it. */
export function runDuo(
  args: readonly string[],
  options: {
    cwd?: string;
    env?: NodeJS.ProcessEnv;
    input?: string;
    onStart?: (kill: (signal: NodeJS.Signals) => void, pid: number) => void;
    onStdout?: () => void;
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
      options.onStdout?.();
    });
    child.stderr?.on('data', (data: Buffer) => {
      stderr += data;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    options.onStart?.((signal) => child.kill(signal), child.pid as number);
  });
}

/** The first process that `pid` has started and that is still there; null where it has none, or is gone. Linux. */
export function findChild(pid: number): number | null {
  const found = readdirSync('/proc').find((name) => /^\d+$/.test(name) && readStat(Number(name))?.[1] === String(pid));
  return found === undefined ? null : Number(found);
}

/** Seconds of processor time that a process has used, 0 where it is gone; to a hundredth. */
export function usedSeconds(pid: number): number {
  const stat = readStat(pid);
  return stat === null ? 0 : (Number(stat[11]) + Number(stat[12])) / 100;
}

/** Wait until something is so; the test's own time limit ends a wait in vain. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((turn) => setTimeout(turn, 20));
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
