// Writes files so that a reader never sees half of one: written beside, fsynced, renamed, folder fsynced.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { FileError } from '../errors/errors.ts';

const SENTENCES: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space and run again',
  EROFS: 'the file system is read-only; choose another output folder',
  EACCES: 'permission was denied; choose another output folder',
  EPERM: 'permission was denied; choose another output folder',
  ENOENT: 'its folder does not exist; create it first',
  ENOTDIR: 'a part of its path is a file, not a folder',
  EISDIR: 'it is a folder; name a file',
};

/** What differs when the failed call only read. */
const READ_SENTENCES: Record<string, string> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission was denied',
  EPERM: 'permission was denied',
};

/** One sentence for an operating-system error about `path`. @param verb "write", "read", "read samples", … */
export function fileErrorOf(verb: string, path: string, cause: unknown): FileError {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const sentence = (verb.startsWith('read') ? READ_SENTENCES[code] : undefined) ?? SENTENCES[code];
  return new FileError(`Cannot ${verb} ${path}: ${sentence ?? (cause as Error).message}.`, { cause });
}

/** Write `data` to `path` whole or not at all; an older file stays until the new one is complete on disk.
 * @throws {FileError} disk full, read-only, no such folder. */
export function writeFileAtomic(path: string, data: string | Uint8Array): void {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  const beside = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  try {
    const file = openSync(beside, 'w');
    try {
      for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, path);
    syncFolder(dirname(path));
  } catch (cause) {
    removeBeside(beside);
    throw fileErrorOf('write', path, cause);
  }
}

/** Make a folder and those above it; one that is there already is fine, also when another process makes it meanwhile.
 * Node's own recursive mkdir never returns where the system refuses with ENOENT under an existing folder (/proc).
 * @throws {FileError} not permitted, read-only, or a part of the path is a file. */
export function makeFolder(path: string): void {
  try {
    makeMissingFolders(path);
  } catch (cause) {
    throw fileErrorOf('create', path, cause);
  }
}

function makeMissingFolders(path: string): void {
  if (isFolder(path)) return;
  const parent = dirname(resolve(path));
  if (!existsSync(parent)) makeMissingFolders(parent);
  try {
    mkdirSync(path);
  } catch (cause) {
    if (!isFolder(path)) throw cause;
  }
}

function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}

/** Remove what a failed write left; the failure itself is what the person must hear of. */
function removeBeside(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // A folder that cannot be written to may also refuse a look inside.
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

/** JSON with sorted-as-given keys, two-space indent, rows of numbers on one line each, and a final newline: stable bytes for equal values. */
export function stableJson(value: unknown): string {
  const text = JSON.stringify(value, null, 2);
  return `${text.replace(/\[\n\s+(-?[\d.eE+-]+(?:,\s+-?[\d.eE+-]+)*)\s+\]/g, (_, inner: string) => `[${inner.replace(/\s+/g, ' ')}]`)}\n`;
}
