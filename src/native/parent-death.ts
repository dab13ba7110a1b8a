// Lets a process end when its parent does, also where the parent is killed and cannot signal it (Linux, prctl(2)).
import { createRequire } from 'node:module';

/** From linux/prctl.h. */
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/** Ask the kernel to kill this process once its parent has ended. Does nothing where the system has no such call. */
export function endWithParent(): void {
  if (process.platform !== 'linux') return;
  const koffi = createRequire(import.meta.url)('koffi') as {
    load(path: null): { func(prototype: string): (...values: number[]) => number };
  };
  const prctl = koffi.load(null).func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}
