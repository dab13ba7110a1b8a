// Which process of which machine this is, and whether another one of this machine still runs: locks, claims and left-over files record
// the first, and the second is asked before they are taken over or removed.
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Linux gives this number to the processes of the machine itself; those of a container have another. */
const FIRST_PID_NAMESPACE = '4026531836';

/** Where process numbers mean something: the host's name, and in a container the name of its own numbers, because containers may have their
 * host's name (Kubernetes' hostNetwork) and each begins to count at 1. */
export function machineName(): string {
  const space = readPidNamespace();
  return space === null || space === FIRST_PID_NAMESPACE ? hostname() : `${hostname()}+${space}`;
}

/** Null where the system has none, or does not say. */
function readPidNamespace(): string | null {
  try {
    return /^pid:\[(\d+)\]$/.exec(readlinkSync('/proc/self/ns/pid'))?.[1] ?? null;
  } catch {
    return null;
  }
}

/** What a file's name may hold of this process, so that no two of a shared folder's writers meet. */
export function processName(): string {
  return `${machineName()}-${process.pid}`;
}

/** False for a process that is gone, or was killed and not yet collected by its parent: a container whose first process collects no children
 * keeps such entries for ever. True for a process that may not be queried (of another user). */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM';
  }
  return !['Z', 'X'].includes(readStat(pid)?.[0] ?? '');
}

/** Field 22 of /proc/<pid>/stat, clock ticks since boot: distinguishes a process from a later one of the same number. Null where the system has no
 * /proc, or the process is gone. */
export function startTimeOf(pid: number): string | null {
  return readStat(pid)?.[19] ?? null;
}

/** True where the process of a number runs and is the one that began at `started`, by startTimeOf. Where either start is unknown (null),
 * only the number is compared. */
export function isSameProcess(pid: number, started: string | null): boolean {
  return pid > 0 && isRunning(pid) && (started === null || (startTimeOf(pid) ?? started) === started);
}

/** Fields of /proc/<pid>/stat from the third on, the state; null where the system has no /proc, or the process is gone. */
export function readStat(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the program's name, may hold spaces and parentheses: count from its last one.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}
