// Signals and broken streams, on the command line that users start. Times are loose: a loaded machine is slow, a hang is endless.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findChild, GOLDEN_MODEL, ROOT, until } from './run-duo.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-signals-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);
const DUO = join(ROOT, 'bin/duo.js');
const isLinux = process.platform === 'linux';

interface Started {
  readonly child: ChildProcess;
  readonly stderr: () => string;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

function start(...args: string[]): Started {
  const child = spawn(process.execPath, [DUO, ...args], { cwd: scratch, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr?.on('data', (data: Buffer) => {
    stderr += data;
  });
  return {
    child,
    stderr: () => stderr,
    ended: new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal }))),
  };
}

/** Until the command has started its worker, and so hears signals; and then as long as the worker may take to come to its FIFO. */
async function untilItWaits({ child }: Started): Promise<void> {
  await until(() => findChild(child.pid as number) !== null);
  // There is nothing to see of a wait for a FIFO's writer. A worker that is not there yet ends at a signal too.
  await new Promise((later) => setTimeout(later, 1500));
}

const temporaries = (): string[] => readdirSync(scratch).filter((name) => name.endsWith('.tmp'));
const sh = (script: string): { status: number | null; stderr: string } => {
  const { status, stderr } = spawnSync('bash', ['-c', script.replaceAll('duo ', `"${process.execPath}" "${DUO}" `)], {
    cwd: scratch,
    encoding: 'utf8',
  });
  return { status, stderr };
};

describe.runIf(isLinux)('a signal', { timeout: 120_000 }, () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s ends generation and removes what it wrote', async (signal) => {
    const run = start('generate', '--model', GOLDEN_MODEL, '--count', '1e9', '--out', 's.jsonl');
    await until(() => temporaries().length > 0);
    run.child.kill(signal);
    expect(await run.ended).toEqual({ code: 130, signal: null });
    expect(temporaries()).toEqual([]);
    expect(existsSync(at('s.jsonl'))).toBe(false);
    // a worker that gets no processor for half a second is ended by its supervisor
    expect(run.stderr()).toMatch(new RegExp(`${signal} received|stopped at once by ${signal}`));
  });

  it('ends a command that waits for the writer of a FIFO', async () => {
    spawnSync('mkfifo', [at('gates')]);
    const run = start('export', '--gates', 'gates', '--streaming-fraction', '0.5', '--out', 'm.json');
    await untilItWaits(run);
    run.child.kill('SIGTERM');
    expect(await run.ended).toEqual({ code: 130, signal: null });
  });

  it('that comes a second time kills at once', async () => {
    spawnSync('mkfifo', [at('prompt')]);
    const run = start('run', '--model', GOLDEN_MODEL, '--prompt-file', 'prompt');
    await untilItWaits(run);
    run.child.kill('SIGINT');
    await new Promise((later) => setTimeout(later, 300));
    run.child.kill('SIGINT');
    expect((await run.ended).code).toBe(130);
  });

  it('SIGKILL of the command ends its worker too', async () => {
    const run = start('generate', '--model', GOLDEN_MODEL, '--count', '1e9', '--out', 'k.jsonl');
    await until(() => temporaries().length > 0);
    const [, worker] = /\.k\.jsonl\..+-(\d+)-\d+-\w+\.tmp/.exec(temporaries()[0] as string) ?? [];
    expect(Number(worker)).not.toBe(run.child.pid);
    run.child.kill('SIGKILL');
    await run.ended;
    await until(
      () => !existsSync(`/proc/${worker}`) || /State:\s+Z/.test(readFileSync(`/proc/${worker}/status`, 'utf8')),
    );
    for (const name of temporaries()) rmSync(at(name));
  });
});

describe.runIf(isLinux)('standard output', { timeout: 120_000 }, () => {
  it.each([
    ['a result', 'duo inspect demo --json'],
    ['help', 'duo export --help'],
    ['a generated text', `duo run --model ${GOLDEN_MODEL} --prompt hi --max-new-tokens 2`],
  ])('that is full fails the command: %s', (_, command) => {
    const { status, stderr } = sh(`${command} > /dev/full`);
    expect(stderr).toContain('duo: Cannot write standard output: the disk is full');
    expect(status).toBe(1);
  });

  it('that is full fails an output written to it', () => {
    expect(sh(`duo generate --model ${GOLDEN_MODEL} --count 1 --out - > /dev/full`).status).toBe(1);
  });

  it('that its reader closed is a success', () => {
    expect(sh('set -o pipefail; duo inspect demo --json | head -c 1').status).toBe(0);
    expect(sh(`set -o pipefail; duo generate --model ${GOLDEN_MODEL} --count 1e9 --out - | head -1`).status).toBe(0);
  });

  it('gets the document of --out -, and - is not a file', () => {
    const out = openSync(at('samples'), 'w');
    const args = ['generate', '--model', GOLDEN_MODEL, '--count', '2', '--out', '-'];
    expect(spawnSync(process.execPath, [DUO, ...args], { cwd: scratch, stdio: ['ignore', out, 'ignore'] }).status).toBe(
      0,
    );
    expect(readFileSync(at('samples'), 'utf8').trim().split('\n')).toHaveLength(2);
    expect(existsSync(at('-'))).toBe(false);
  });

  it('a descriptor that a shell opened is handed on', () => {
    writeFileSync(at('prompt.txt'), 'hi');
    const { status } = sh(`duo run --model ${GOLDEN_MODEL} --prompt-file <(cat prompt.txt) --max-new-tokens 1`);
    expect(status).toBe(0);
  });
});
