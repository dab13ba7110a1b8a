// A lock file that keeps two processes from writing one run folder. It names its holder, so that a lock left by a killed process
// is recognised and taken over; nothing has to be cleaned by hand after kill −9.
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { isRunning, machineName, processName, startTimeOf } from '../src/core/process-life.ts';
import { FileError } from '../src/errors/errors.ts';
import { fileErrorOf } from '../src/formats/atomic-file.ts';

interface LockHolder {
  readonly pid: number;
  readonly host: string;
  /** kernel start time of the process, where the system tells it: a reused pid has another one */
  readonly started: string | null;
}

/** How long a killed process may take to be gone: its memory is given back first. */
const DYING_MS = 1000;
const POLL_MS = 20;

/** Paths locked by this process; a lock file with our pid that is not among them was left by an earlier process of the same number. */
const heldHere = new Set<string>();

/** Take the lock at `path`.  @param options.dyingMs default DYING_MS; longer ones are for tests.  @returns a function that gives it back; calling it twice does nothing.
 * @throws {FileError} another live process holds it, or the folder cannot be written. */
export function takeLock(path: string, { dyingMs = DYING_MS }: { dyingMs?: number } = {}): () => void {
  const absolute = resolve(path);
  if (heldHere.has(absolute)) throw heldError(path, `this process (${process.pid})`);
  if (!createLock(path)) {
    const { text, holder } = awaitHolder(path, dyingMs);
    if (holder === null || isAlive(holder)) {
      throw heldError(path, holder === null ? 'another process' : `process ${holder.pid} on ${holder.host}`);
    }
    if (!removeStale(path, text as string) || !createLock(path)) throw heldError(path, 'another process');
  }
  heldHere.add(absolute);
  let isHeld = true;
  return () => {
    if (!isHeld) return;
    isHeld = false;
    heldHere.delete(absolute);
    rmSync(path, { force: true });
  };
}

/** Who holds the lock. A holder that lives is waited for a moment: one that was killed just now is still being taken down. */
function awaitHolder(path: string, dyingMs: number): { text: string | null; holder: LockHolder | null } {
  const endMs = performance.now() + dyingMs;
  for (;;) {
    const text = readLock(path);
    const holder = text === null ? null : parseHolder(text);
    const isWaiting = holder !== null && holder.host === machineName() && isAlive(holder) && performance.now() < endMs;
    if (!isWaiting) return { text, holder };
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS);
  }
}

/** Who holds the lock at `path`, in words; null where nobody that lives does. */
export function findLockHolder(path: string): string | null {
  const text = readLock(path);
  const holder = text === null ? null : parseHolder(text);
  if (text === null || (holder !== null && !isAlive(holder))) return null;
  return holder === null ? 'another process' : `process ${holder.pid} on ${holder.host}`;
}

function createLock(path: string): boolean {
  const holder: LockHolder = { pid: process.pid, host: machineName(), started: startTimeOf(process.pid) };
  try {
    const file = openSync(path, 'wx');
    try {
      writeSync(file, JSON.stringify(holder));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw fileErrorOf('write', path, cause);
  }
}

function readLock(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** The holder named in a lock; one killed between creating and writing it left it empty and is reported as dead. */
function parseHolder(text: string): LockHolder | null {
  if (text === '') return { pid: 0, host: machineName(), started: null };
  try {
    return JSON.parse(text) as LockHolder;
  } catch {
    return null;
  }
}

/** Remove the lock that reads `text`. Two processes may find the same stale lock: the slower one must not remove the lock that the
 * faster one has meanwhile taken, so the file is moved aside, looked at, and put back if it is not the stale one. */
function removeStale(path: string, text: string): boolean {
  const aside = `${path}.${processName()}`;
  try {
    renameSync(path, aside);
  } catch {
    return false;
  }
  const isStale = readLock(aside) === text;
  if (!isStale) linkSync(aside, path);
  rmSync(aside, { force: true });
  return isStale;
}

function isAlive({ pid, host, started }: LockHolder): boolean {
  // A process of another machine (shared folder) cannot be asked; its lock is honoured.
  if (host !== machineName()) return true;
  if (pid <= 0 || pid === process.pid) return false;
  // Where another user's processes are hidden, the number alone must do.
  return isRunning(pid) && (started === null || (startTimeOf(pid) ?? started) === started);
}

function heldError(path: string, holder: string): FileError {
  return new FileError(
    `Expected to be the only one writing this run folder, but ${holder} holds ${path}; wait for it, choose another --out, or delete the file if no such process runs.`,
  );
}
