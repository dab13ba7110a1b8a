// A file that says which process holds something: created by one process alone, with its machine, number and start in it, and taken over once
// that process is gone; nothing has to be cleaned by hand after kill −9. The lock of a run (train/run-lock.ts) and the claims on pieces of
// work and on transfers (claims.ts) are such files; each decides for itself how to treat an owner on another machine, which cannot be asked.
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { resolve } from 'node:path';
import { isSameProcess, machineName, processName, startTimeOf } from './process-life.ts';

export interface Owner {
  readonly host: string;
  readonly pid: number;
  /** kernel start time, where the system reports it: a reused number has another one */
  readonly started: string | null;
}

/** What was found at a path. */
export interface OwnedFile {
  readonly text: string;
  readonly mtimeMs: number;
  /** null where the text names no owner: a crash cut it short, or another program wrote it */
  readonly owner: Owner | null;
}

/** What this process holds, by absolute path: a file with our number that is not among them was left by an earlier process. */
const heldHere = new Map<string, string>();

/** True for a path that this process holds. */
export function isHeldHere(path: string): boolean {
  return heldHere.has(resolve(path));
}

/** Create the file in this process's name. @returns false where there is one, and for a path that this process holds.
 * @throws the system's error (read-only, no folder, disk full), and no file is left. */
export function createOwned(path: string): boolean {
  if (isHeldHere(path)) return false;
  const owner: Owner = { host: machineName(), pid: process.pid, started: startTimeOf(process.pid) };
  const text = JSON.stringify(owner);
  let file: number;
  try {
    file = openSync(path, 'wx');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw cause;
  }
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } catch (cause) {
    rmSync(path, { force: true });
    throw cause;
  } finally {
    closeSync(file);
  }
  heldHere.set(resolve(path), text);
  return true;
}

/** Give up what this process holds; a file that has another owner by now stays, and so does one that this process never held. */
export function removeOwned(path: string): void {
  const own = heldHere.get(resolve(path));
  heldHere.delete(resolve(path));
  if (own !== undefined && readOwned(path)?.text === own) rmSync(path, { force: true });
}

/** Show that the owner of a file is alive: set its time. Nothing happens to a file that has another owner by now. @throws the system's error. */
export function touchOwned(path: string): void {
  const own = heldHere.get(resolve(path));
  const now = new Date();
  if (own !== undefined && readOwned(path)?.text === own) utimesSync(path, now, now);
}

/** What lies at `path`, null for nothing. Content and time are of one opened file: what a network file system has kept of either is asked for
 * anew on opening. */
export function readOwned(path: string): OwnedFile | null {
  try {
    const file = openSync(path, 'r');
    try {
      const text = readFileSync(file, 'utf8');
      return { text, mtimeMs: fstatSync(file).mtimeMs, owner: parseOwner(text) };
    } finally {
      closeSync(file);
    }
  } catch {
    return null;
  }
}

/** Whether the owner of `path` runs: null for one of another machine, which cannot be asked. */
export function isOwnerRunning(path: string, owner: Owner): boolean | null {
  if (owner.host !== machineName()) return null;
  return owner.pid === process.pid ? isHeldHere(path) : isSameProcess(owner.pid, owner.started);
}

/** Remove the file that reads `text`, whose owner is gone. Of two processes that find the same one, the slower must not remove the file that
 * the faster has created meanwhile: it is moved aside, looked at, and put back if it is not the one that was looked at.
 * @returns false where it was not removed. */
export function removeLeft(path: string, text: string): boolean {
  const aside = `${path}.${processName()}`;
  try {
    renameSync(path, aside);
  } catch {
    return false;
  }
  const isLeft = readOwned(aside)?.text === text;
  if (!isLeft && !existsSync(path)) linkSync(aside, path);
  rmSync(aside, { force: true });
  return isLeft;
}

function parseOwner(text: string): Owner | null {
  try {
    const { host, pid, started } = JSON.parse(text) as Partial<Owner>;
    if (typeof host !== 'string' || !Number.isInteger(pid)) return null;
    return { host, pid: pid as number, started: started ?? null };
  } catch {
    return null;
  }
}
