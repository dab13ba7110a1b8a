// Whole files: written so that a reader never sees half of one (output.ts), folders, and JSON with stable bytes.
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { FileError } from '../errors/errors.ts';
import { fileErrorOf } from './file-errors.ts';
import { openOutput } from './output.ts';

export { fileErrorOf } from './file-errors.ts';

/** Write `data` to `path` whole or not at all; an older file stays until the new one is complete on disk, and its mode with it.
 * Links, FIFOs, devices and `-` as output.ts says.
 * @throws {FileError} disk full, read-only, no such folder. */
export function writeFileAtomic(path: string, data: string | Uint8Array): void {
  const output = openOutput(path);
  try {
    output.write(typeof data === 'string' ? Buffer.from(data) : data);
    output.commit();
  } catch (cause) {
    output.discard();
    throw cause;
  }
}

/** Make a folder and those above it; one that is there already is fine, also when another process makes it meanwhile.
 * Node's own recursive mkdir never returns where the system refuses with ENOENT under an existing folder (/proc).
 * @throws {FileError} not permitted, read-only, or a part of the path is a file. */
export function makeFolder(path: string): void {
  try {
    makeMissingFolders(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') {
      throw new FileError(`Cannot create the folder ${path}: there is a file of that name; choose another folder.`, {
        cause,
      });
    }
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

/** JSON with sorted-as-given keys, two-space indent, rows of numbers (and nulls) on one line each, and a final newline: stable bytes for equal values. */
export function stableJson(value: unknown): string {
  const text = JSON.stringify(value, null, 2);
  return `${text.replace(/\[\n\s+((?:null|-?[\d.eE+-]+)(?:,\s+(?:null|-?[\d.eE+-]+))*)\s+\]/g, (_, inner: string) => `[${inner.replace(/\s+/g, ' ')}]`)}\n`;
}
