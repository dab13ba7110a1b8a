// Names of the files that outputs are written to, next to their targets: `.<target>.<host>-<pid>-<start>-<random>.tmp`. Writers of several hosts or
// containers may meet in a shared folder; the name of such a file says who left it, so that the next writer of the same target can clear it up.
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isSameProcess, machineName, startTimeOf } from '../core/process-life.ts';

/** A file of another machine, whose processes cannot be asked, is left over when nothing was written to it for so long: a day. */
const OLD_MS = 24 * 3600 * 1000;
/** Of a target's name, so that 255 bytes, what file systems allow, hold the rest too. */
const MAX_STEM_BYTES = 128;
/** Where the system does not report when a process began. */
const NO_START = '0';
const OWNER = /^(.+)-(\d+)-(\d+)-[0-9a-f]{8}\.tmp$/;

/** A new name next to `target`: of this process, and with random digits, so that no other file has it. */
export function nameTemporary(target: string): string {
  const own = `${ownMachine()}-${process.pid}-${startTimeOf(process.pid) ?? NO_START}`;
  return join(dirname(target), `${startOf(target)}${own}-${randomBytes(4).toString('hex')}.tmp`);
}

/** True for the name of a file that some process is, or was, writing in place of `target`. */
export function isTemporaryOf(target: string, name: string): boolean {
  return findOwner(target, name) !== null;
}

/** Files that ended processes left next to `target`: at once for processes of this machine, after a day for those of others.
 * @returns absolute or relative paths, as `target` is. @throws the system's error. */
export function listAbandoned(target: string): string[] {
  return readdirSync(dirname(target)).flatMap((name) => {
    const owner = findOwner(target, name);
    if (owner === null) return [];
    const path = join(dirname(target), name);
    const isLeft = owner.machine === ownMachine() ? !isAlive(owner) : isOld(path);
    return isLeft ? [path] : [];
  });
}

interface Owner {
  readonly machine: string;
  readonly pid: number;
  readonly start: string;
}

function findOwner(target: string, name: string): Owner | null {
  const start = startOf(target);
  if (!name.startsWith(start)) return null;
  const [, machine, pid, began] = OWNER.exec(name.slice(start.length)) ?? [];
  return machine === undefined ? null : { machine, pid: Number(pid), start: began as string };
}

function isAlive({ pid, start }: Owner): boolean {
  return isSameProcess(pid, start === NO_START ? null : start);
}

/** False for one that is gone meanwhile. */
function isOld(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && Date.now() - found.mtimeMs > OLD_MS;
}

/** What the names of a target's temporary files begin with; a long target by its hash. */
function startOf(target: string): string {
  const name = basename(target);
  const isShort = Buffer.byteLength(name) <= MAX_STEM_BYTES;
  return `.${isShort ? name : createHash('sha256').update(name).digest('hex').slice(0, 16)}.`;
}

/** As names of files spell it. */
function ownMachine(): string {
  return machineName()
    .replaceAll(/[^\w.+-]/g, '_')
    .slice(0, 64);
}
