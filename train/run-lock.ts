// The lock that keeps two processes from writing one run folder: an owned file (src/core/owned-file.ts), so that a lock left by a killed
// process is recognised and taken over. Unlike a claim it has no heartbeat, and the lock of another machine is honoured for ever.
import {
  createOwned,
  isHeldHere,
  isOwnerRunning,
  type OwnedFile,
  readOwned,
  removeLeft,
  removeOwned,
} from '../src/core/owned-file.ts';
import { machineName } from '../src/core/process-life.ts';
import { FileError } from '../src/errors/errors.ts';
import { fileErrorOf } from '../src/formats/atomic-file.ts';

/** How long a killed process may take to be gone: its memory is given back first. */
const DYING_MS = 1000;
const POLL_MS = 20;

/** Take the lock at `path`.  @param options.dyingMs default DYING_MS; longer ones are for tests.  @returns a function that gives it back; calling it twice does nothing.
 * @throws {FileError} another live process holds it, or the folder cannot be written. */
export function takeLock(path: string, { dyingMs = DYING_MS }: { dyingMs?: number } = {}): () => void {
  if (isHeldHere(path)) throw heldError(path, `this process (${process.pid})`);
  if (!create(path)) {
    const found = awaitHolder(path, dyingMs);
    if (found !== null && mayLive(path, found)) throw heldError(path, nameHolder(found));
    if ((found !== null && !removeLeft(path, found.text)) || !create(path)) throw heldError(path, 'another process');
  }
  let isHeld = true;
  return () => {
    if (!isHeld) return;
    isHeld = false;
    removeOwned(path);
  };
}

/** The live process that holds the lock at `path`, in words; null where there is none. */
export function findLockHolder(path: string): string | null {
  const found = readOwned(path);
  return found !== null && mayLive(path, found) ? nameHolder(found) : null;
}

/** The lock file found at the path. A live holder is given a moment: a process that was killed just now takes a while to exit. */
function awaitHolder(path: string, dyingMs: number): OwnedFile | null {
  const endMs = performance.now() + dyingMs;
  for (;;) {
    const found = readOwned(path);
    const isHere = found?.owner?.host === machineName();
    if (!isHere || !mayLive(path, found) || performance.now() >= endMs) return found;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS);
  }
}

/** A holder killed between creating the lock and writing it left it empty; for any other lock without a name, it is not known whether its holder is gone. */
function mayLive(path: string, { text, owner }: OwnedFile): boolean {
  if (owner === null) return text !== '';
  return isOwnerRunning(path, owner) ?? true;
}

function nameHolder({ owner }: OwnedFile): string {
  return owner === null ? 'another process' : `process ${owner.pid} on ${owner.host}`;
}

function create(path: string): boolean {
  try {
    return createOwned(path);
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
}

function heldError(path: string, holder: string): FileError {
  return new FileError(
    `Expected to be the only one writing this run folder, but ${holder} holds ${path}; wait for it, choose another --out, or delete the file if no such process runs.`,
  );
}
