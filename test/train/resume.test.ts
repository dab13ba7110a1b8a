// A run killed at any moment and resumed ends in the bytes of an uninterrupted one. Two ways to die: in this process, every write to
// disk in turn is the last one (torn, where it writes bytes); and a real process under SIGKILL, lock file and all.
import { spawn } from 'node:child_process';
import fs, { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { JsonRecord } from '../../src/formats/read-json.ts';
import { optimizeGates } from '../../train/optimize.ts';
import { enterRunFolder, type RunEntry } from '../../train/run-folder.ts';
import { makeQuadraticEngine, quadraticSampleAt } from './quadratic-engine.ts';

const identity: JsonRecord = { samples: 'sha256:00' };
const real = { openSync: fs.openSync, writeSync: fs.writeSync, fsyncSync: fs.fsyncSync, renameSync: fs.renameSync };

/** Let the first `count` calls that change the disk pass; the next one is torn and every later one fails, as for a dead process. */
function dieAfter(count: number): { calls: () => number } {
  let calls = 0;
  const die = () => {
    throw new Error('killed');
  };
  const guard =
    (name: keyof typeof real) =>
    (...args: unknown[]) => {
      const isReading = name === 'openSync' && args[1] === 'r';
      if (!isReading && calls++ >= count) {
        // Half of the bytes reach the disk.
        if (name === 'writeSync' && calls === count + 1) {
          const bytes = args[1] as Uint8Array;
          real.writeSync(args[0] as number, bytes, 0, Math.floor(bytes.length / 2));
        }
        die();
      }
      return (real[name] as (...all: unknown[]) => unknown)(...args);
    };
  for (const name of Object.keys(real) as (keyof typeof real)[]) Object.assign(fs, { [name]: guard(name) });
  syncBuiltinESMExports();
  return { calls: () => calls };
}

function revive(): void {
  Object.assign(fs, real);
  syncBuiltinESMExports();
}

afterEach(revive);

/** What identify does around the loop, at its smallest. */
async function runOnce(path: string, entry: RunEntry): Promise<number[][]> {
  const folder = enterRunFolder({ path, entry, identity });
  try {
    const { gates } = await optimizeGates({
      engine: makeQuadraticEngine(),
      sampleAt: quadraticSampleAt,
      settings: {
        steps: 7,
        lr: 0.05,
        lambda: 0.2,
        window: { sinkTokens: 4, recentTokens: 32 },
        supervise: 'predict',
        fullBranch: 'student',
        checkpointEvery: 2,
        gatesEvery: 3,
        stableSteps: 0,
      },
      files: { metrics: folder.file('metrics.jsonl'), checkpoint: folder.file('checkpoint.json') },
      identity,
      resume: entry === 'resume',
    });
    return gates;
  } finally {
    folder.close();
  }
}

const newFolder = (): string => join(mkdtempSync(join(tmpdir(), 'duo-resume-')), 'run');

/** A run folder's bytes, `seconds` left out. */
function readBytes(path: string): { metrics: string; checkpoint: string; files: string[] } {
  return {
    metrics: readFileSync(join(path, 'metrics.jsonl'), 'utf8').replaceAll(/"seconds":[\d.]+/g, '"seconds":0'),
    checkpoint: readFileSync(join(path, 'checkpoint.json'), 'utf8'),
    files: fs.readdirSync(path).sort(),
  };
}

describe('killed at every write', () => {
  test('then resumed, once or again and again, gives the bytes of an uninterrupted run', async () => {
    const whole = newFolder();
    const { calls } = dieAfter(Number.POSITIVE_INFINITY);
    const gates = await runOnce(whole, 'fresh');
    const writes = calls();
    revive();
    const expected = readBytes(whole);
    expect(expected.files).toEqual(['checkpoint.json', 'metrics.jsonl']);
    // 7 lines, 4 checkpoints of 6 calls each and a sync before them, lock and metrics file: the guard really sees the writes.
    expect(writes).toBeGreaterThan(35);

    for (let count = 0; count < writes; count++) {
      const path = newFolder();
      dieAfter(count);
      await expect(runOnce(path, 'fresh')).rejects.toThrow('killed');
      revive();
      expect(await runOnce(path, 'resume')).toEqual(gates);
      expect(readBytes(path), `killed at write ${count}`).toEqual(expected);
    }

    // One folder that dies three writes further each time.
    const path = newFolder();
    let deaths = 0;
    for (let count = 3; ; count += 3) {
      dieAfter(count);
      const outcome = await runOnce(path, 'resume').catch((cause: Error) => cause);
      revive();
      if (!(outcome instanceof Error)) break;
      deaths++;
    }
    expect(deaths).toBeGreaterThan(3);
    expect(readBytes(path)).toEqual(expected);
  });
});

describe('a process under SIGKILL', () => {
  test('leaves a lock that the next one takes over, and resumes to the same bytes', async () => {
    const whole = newFolder();
    await runOnce(whole, 'fresh');
    const path = newFolder();
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/train/killed-run.ts', path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    // The child says so when it is in the middle of its sixth step, and waits there.
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`exit ${code} before its sixth step`)));
    });
    expect(() => enterRunFolder({ path, entry: 'resume', identity })).toThrow(
      new RegExp(`^Expected to be the only one writing this run folder, but process ${child.pid} on `),
    );
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
    expect(existsSync(join(path, '.lock'))).toBe(true);
    await runOnce(path, 'resume');
    expect(readBytes(path)).toEqual(readBytes(whole));
  });
});
