// The files that this process is writing next to their targets. If the process ends in the middle of a write they are removed
// by the process itself where it still can, else by its supervisor, which is notified of each one (src/cli/supervise.ts).
import { rmSync } from 'node:fs';

/** Called with each temporary file when it is made, and when it is renamed or removed. */
export type TemporaryListener = (change: { readonly path: string; readonly isMade: boolean }) => void;

const live = new Set<string>();
let listener: TemporaryListener = () => {};

/** Report every temporary file to `hears` from now on. There is one listener; the last one given stays. */
export function listenToTemporaries(hears: TemporaryListener): void {
  listener = hears;
}

/** Remember a temporary file that is about to be made. @param path absolute. */
export function addTemporary(path: string): void {
  live.add(path);
  listener({ path, isMade: true });
}

/** Forget a temporary file that was renamed or removed. */
export function forgetTemporary(path: string): void {
  if (live.delete(path)) listener({ path, isMade: false });
}

/** Remove every temporary file of this process, at its end. Never throws. */
export function removeTemporaries(): void {
  for (const path of live) {
    try {
      rmSync(path, { force: true });
    } catch {
      // The process is ending; nobody is left to receive an error.
    }
  }
  live.clear();
}
