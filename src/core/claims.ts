// Claims of several processes on pieces of work in one folder, also on several machines: an owned file (owned-file.ts) whose time its owner
// sets anew every few seconds. A claim is taken over when its owner is gone: at once where it ran on this machine and no longer runs, else
// when the file has not changed for STALE_MS by the reader's own clock, so that clocks of machines need not agree.
import {
  createOwned,
  isHeldHere,
  isOwnerRunning,
  type OwnedFile,
  readOwned,
  removeLeft,
  removeOwned,
  touchOwned,
} from './owned-file.ts';

/** How often an owner sets the time of its claims. */
const HEARTBEAT_MS = 5_000;
/** How long a claim of another machine stays valid without a sign of life: longer than network file systems cache attributes (60 s). */
export const STALE_MS = 90_000;

/** The claims that an object of this process holds, and what it has seen of others'. `close` gives all of them back. */
export class Claims {
  readonly #held = new Set<string>();
  /** what was seen last of others' claims, and since when */
  readonly #seen = new Map<string, { mark: string; sinceMs: number }>();
  readonly #staleMs: number;
  readonly #maxAgeMs: number;
  #timer: NodeJS.Timeout | null = null;

  /** @param options.staleMs default STALE_MS; shorter ones are for tests.
   * @param options.maxAgeMs a claim of another machine whose time is further back than this by our own clock is taken over without a wait:
   * for folders that one machine uses, or machines whose clocks agree. Default: no claim is. */
  constructor(options: { staleMs?: number; maxAgeMs?: number } = {}) {
    this.#staleMs = options.staleMs ?? STALE_MS;
    this.#maxAgeMs = options.maxAgeMs ?? Number.POSITIVE_INFINITY;
  }

  /** Claim `path`. @returns false where a living process holds it, this one included. @throws the system's error: read-only, no folder. */
  take(path: string): boolean {
    if (isHeldHere(path)) return false;
    const found = readOwned(path);
    if (found !== null && (this.#mayLive(path, found) || !removeLeft(path, found.text))) return false;
    if (!createOwned(path)) return false;
    this.#held.add(path);
    this.#seen.delete(path);
    this.#timer ??= setInterval(() => this.#beat(), HEARTBEAT_MS).unref();
    return true;
  }

  /** Give up a claim of this object; the claim of another owner stays. */
  release(path: string): void {
    if (!this.#held.delete(path)) return;
    removeOwned(path);
    if (this.#held.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  close(): void {
    for (const path of [...this.#held]) this.release(path);
  }

  /** True where a process holds the claim and, as far as can be seen, is alive. False where there is no claim. */
  isLive(path: string): boolean {
    const found = readOwned(path);
    return found !== null && this.#mayLive(path, found);
  }

  #mayLive(path: string, { text, mtimeMs, owner }: OwnedFile): boolean {
    const isRunning = owner === null ? null : isOwnerRunning(path, owner);
    if (isRunning !== null) return isRunning;
    if (Date.now() - mtimeMs > this.#maxAgeMs) return false;
    const nowMs = performance.now();
    const mark = `${text} ${mtimeMs}`;
    const before = this.#seen.get(path);
    if (before?.mark === mark) return nowMs - before.sinceMs < this.#staleMs;
    this.#seen.set(path, { mark, sinceMs: nowMs });
    return true;
  }

  #beat(): void {
    for (const path of this.#held) {
      try {
        touchOwned(path);
      } catch {
        // gone, or the folder is out of reach for a moment: the next beat tries again
      }
    }
  }
}
