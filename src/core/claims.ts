// Claims of several processes on pieces of work in one folder, also on several machines: a file created exclusively, whose time its owner
// sets anew every few seconds. A claim is taken over when its owner is gone: at once where it ran on this machine and runs no more, else
// when nothing of the file has changed for STALE_MS by the looker's own clock, so that clocks of machines need not agree.
import {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { isRunning, machineName, processName, startTimeOf } from './process-life.ts';

/** How often an owner sets the time of its claims. */
const HEARTBEAT_MS = 5_000;
/** How long a claim of another machine may stand without a sign of life: more than network file systems keep what they have seen (60 s). */
export const STALE_MS = 90_000;

interface Owner {
  readonly host: string;
  readonly pid: number;
  /** kernel start time, where the system tells it: a reused number has another one */
  readonly started: string | null;
}

/** Claims that this process holds, by whichever object: one with our number that is not among them was left by an earlier process. */
const heldHere = new Set<string>();

/** The claims that this process holds, and what it has seen of others'. `close` gives all of them back. */
export class Claims {
  readonly #held = new Set<string>();
  /** what was seen last of others' claims, and since when */
  readonly #seen = new Map<string, { mark: string; sinceMs: number }>();
  readonly #staleMs: number;
  readonly #owner: string;
  #timer: NodeJS.Timeout | null = null;

  /** @param options.staleMs default STALE_MS; shorter ones are for tests. */
  constructor(options: { staleMs?: number } = {}) {
    this.#staleMs = options.staleMs ?? STALE_MS;
    const owner: Owner = { host: machineName(), pid: process.pid, started: startTimeOf(process.pid) };
    this.#owner = JSON.stringify(owner);
  }

  /** Claim `path`. @returns false where a living process holds it, this one included. @throws the system's error: read-only, no folder. */
  take(path: string): boolean {
    if (heldHere.has(path)) return false;
    if (existsSync(path) && (this.isLive(path) || !this.#removeStale(path))) return false;
    try {
      writeFileSync(path, this.#owner, { flag: 'wx' });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw cause;
    }
    this.#held.add(path);
    heldHere.add(path);
    this.#seen.delete(path);
    this.#timer ??= setInterval(() => this.#beat(), HEARTBEAT_MS).unref();
    return true;
  }

  /** Give up a claim of this process; another's stays. */
  release(path: string): void {
    if (!this.#held.delete(path)) return;
    heldHere.delete(path);
    if (readText(path) === this.#owner) rmSync(path, { force: true });
    if (this.#held.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  close(): void {
    for (const path of [...this.#held]) this.release(path);
  }

  /** True where a process holds the claim and, for all that can be told, lives. False where there is no claim. */
  isLive(path: string): boolean {
    const found = look(path);
    if (found === null) return false;
    const owner = parseOwner(found.text);
    if (owner?.host === machineName()) {
      if (owner.pid === process.pid) return heldHere.has(path);
      return (
        isRunning(owner.pid) && (owner.started === null || (startTimeOf(owner.pid) ?? owner.started) === owner.started)
      );
    }
    const nowMs = performance.now();
    const mark = `${found.text} ${found.mtimeMs}`;
    const before = this.#seen.get(path);
    if (before?.mark === mark) return nowMs - before.sinceMs < this.#staleMs;
    this.#seen.set(path, { mark, sinceMs: nowMs });
    return true;
  }

  /** Remove a claim whose owner is gone. Of two processes that find the same one, the slower must not remove the claim that the faster has
   * taken meanwhile: the file is moved aside, looked at, and put back if it is not the one that was looked at. */
  #removeStale(path: string): boolean {
    const text = readText(path);
    const aside = `${path}.${processName()}`;
    try {
      renameSync(path, aside);
    } catch {
      return false;
    }
    const isStale = readText(aside) === text;
    if (!isStale && !existsSync(path)) linkSync(aside, path);
    rmSync(aside, { force: true });
    return isStale;
  }

  #beat(): void {
    const now = new Date();
    for (const path of this.#held) {
      try {
        if (readText(path) === this.#owner) utimesSync(path, now, now);
      } catch {
        // gone, or the folder is out of reach for a moment: the next beat tries again
      }
    }
  }
}

/** Content and time by one opened file: what a network file system has kept of either is asked for anew on opening. */
function look(path: string): { text: string; mtimeMs: number } | null {
  try {
    const file = openSync(path, 'r');
    try {
      return { text: readFileSync(file, 'utf8'), mtimeMs: fstatSync(file).mtimeMs };
    } finally {
      closeSync(file);
    }
  } catch {
    return null;
  }
}

function readText(path: string): string | null {
  return look(path)?.text ?? null;
}

/** null for a claim that a crash cut short. */
function parseOwner(text: string): Owner | null {
  try {
    const { host, pid, started } = JSON.parse(text) as Partial<Owner>;
    if (typeof host !== 'string' || !Number.isInteger(pid)) return null;
    return { host, pid: pid as number, started: started ?? null };
  } catch {
    return null;
  }
}
