// Whether another process of this machine still runs: what locks, claims and left-over files ask before they are taken over or removed.
import { readFileSync } from 'node:fs';

/** False for a process that is gone, or was killed and not yet collected by its parent: a container whose first process collects nobody
 * keeps such entries for ever. True for one that may not be asked (another user's). */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM';
  }
  return !['Z', 'X'].includes(readStat(pid)?.[0] ?? '');
}

/** Field 22 of /proc/<pid>/stat, clock ticks since boot: tells a process from a later one of the same number. Null where the system has no
 * /proc, or the process is gone. */
export function startTimeOf(pid: number): string | null {
  return readStat(pid)?.[19] ?? null;
}

/** Fields of /proc/<pid>/stat from the third on, the state. */
function readStat(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the program's name, may hold spaces and parentheses: count from its last one.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}
