// Where the bytes of an output go. A regular file is written under a temporary name next to its target and renamed, so that a reader never sees half of one; a link is
// followed and its target replaced; a FIFO, a terminal or a character device gets the bytes in place; `-` is standard output.
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { FileError } from '../errors/errors.ts';
import { fileErrorOf } from './file-errors.ts';
import { addTemporary, forgetTemporary } from './temporary-files.ts';
import { listAbandoned, nameTemporary } from './temporary-names.ts';

/** Names standard output where a path is asked for. */
export const STDOUT_PATH = '-';
/** As many links as Linux follows in one path. */
const MAX_LINKS = 40;
/** Wait between tries where a pipe that does not block is full. */
const RETRY_MS = 5;

/** The reader of standard output has closed its end (`| head`): it has what it wanted. */
export class ClosedStdoutError extends FileError {
  override name = 'ClosedStdoutError';
  override readonly code = 'ERR_STDOUT_CLOSED';
}

/** An open output. After `commit` or `discard` nothing else may be called. */
export interface Output {
  /** Append bytes. @throws {FileError}. */
  write(bytes: Uint8Array): void;
  /** Make the output whole and visible under its path. @throws {FileError}. */
  commit(): void;
  /** Give up: of a regular file nothing is left; what went to a device or a pipe stays there. Never throws. */
  discard(): void;
}

/** Open `path` for writing; `-` is standard output.
 * @throws {FileError} no such folder, not permitted, read-only; a folder, a block device or a socket. */
export function openOutput(path: string): Output {
  const descriptor = findDescriptor(path);
  if (descriptor !== null) return openInPlace(path, descriptor);
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined || found.isFile()) return openBeside(path, { target: followLinks(path), found });
    if (found.isFIFO() || found.isCharacterDevice()) return openInPlace(path, openSync(path, 'w'), closeSync);
    throw new FileError(`Cannot write ${path}: ${describeKind(found)}; name a file.`);
  } catch (cause) {
    throw cause instanceof FileError ? cause : fileErrorOf('write', path, cause);
  }
}

/** True where `openOutput` replaces what is there, or makes a new file; false for `-`, FIFOs and devices.
 * @throws {FileError} a part of the path is a file, or may not be entered. */
export function isReplacedWhole(path: string): boolean {
  if (findDescriptor(path) !== null) return false;
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined || found.isFile();
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
}

/** The descriptor that `-`, /dev/stdout, /dev/fd/N or /proc/self/fd/N names; opening those anew would start at offset 0. */
function findDescriptor(path: string): number | null {
  if (path === STDOUT_PATH) return 1;
  const names: Record<string, number> = { '/dev/stdout': 1, '/dev/stderr': 2 };
  const [, number] = /^(?:\/dev\/fd|\/proc\/self\/fd)\/(\d+)$/.exec(path) ?? [];
  return names[path] ?? (number === undefined ? null : Number(number));
}

function openInPlace(path: string, descriptor: number, close: (descriptor: number) => void = () => {}): Output {
  return {
    write: (bytes) => writeWhole(path, descriptor, bytes),
    commit: () => close(descriptor),
    discard: () => close(descriptor),
  };
}

function openBeside(path: string, options: { target: string; found: Stats | undefined }): Output {
  const { target, found } = options;
  removeAbandoned(target);
  const temporary = nameTemporary(target);
  addTemporary(temporary);
  let file: number | null = null;
  const giveUp = (): void => {
    if (file !== null) closeSync(file);
    file = null;
    rmSync(temporary, { force: true });
    forgetTemporary(temporary);
  };
  const attempt = (action: (file: number) => void): void => {
    try {
      action(file as number);
    } catch (cause) {
      quietly(giveUp);
      throw cause instanceof FileError ? cause : fileErrorOf('write', path, cause);
    }
  };
  attempt(() => {
    // Exclusive: a link that somebody planted under this name would be followed.
    file = openSync(temporary, 'wx');
    if (found !== undefined) keepOwnership(file, found);
  });
  return {
    write: (bytes) => attempt((open) => writeWhole(path, open, bytes)),
    commit: () =>
      attempt((open) => {
        fsyncSync(open);
        closeSync(open);
        file = null;
        renameSync(temporary, target);
        forgetTemporary(temporary);
        syncFolder(dirname(target));
      }),
    discard: () => quietly(giveUp),
  };
}

/** The new file gets the mode of the one it replaces, and its owner where the system lets us. */
function keepOwnership(file: number, found: Stats): void {
  quietly(() => fchownSync(file, found.uid, found.gid));
  fchmodSync(file, found.mode & 0o7777);
}

/** The path that a chain of links ends at; the last one need not exist. */
function followLinks(path: string): string {
  let at = resolve(path);
  for (let links = 0; links < MAX_LINKS; links++) {
    if (!lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink()) return at;
    const to = readlinkSync(at);
    at = isAbsolute(to) ? to : join(realpathSync(dirname(at)), to);
  }
  throw new FileError(`Cannot write ${path}: its links lead in a circle; name a file.`);
}

function writeWhole(path: string, file: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(file, bytes, written);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EPIPE' && file === 1)
        throw new ClosedStdoutError('Standard output was closed by its reader.', { cause });
      if (code !== 'EAGAIN') throw fileErrorOf('write', path === STDOUT_PATH ? 'standard output' : path, cause);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}

/** Remove what killed processes left next to `target`. */
function removeAbandoned(target: string): void {
  quietly(() => {
    for (const path of listAbandoned(target)) rmSync(path, { force: true });
  });
}

function describeKind(found: Stats): string {
  if (found.isDirectory()) return 'it is a folder';
  return found.isBlockDevice() ? 'it is a disk or another block device' : 'it is a socket';
}

function quietly(action: () => void): void {
  try {
    action();
  } catch {
    // The failure before it is the one to report.
  }
}

/** Make a rename in `folder` durable; a no-op where the system cannot sync folders (Windows). */
export function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
