// The Python tools' cache: models--org--name/{blobs/<etag>, snapshots/<commit>/<file> → blob, refs/<revision>}. duo uses what they fetched, and they
// find what duo fetches.
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { FileError } from '../errors/errors.ts';
import { fileErrorOf, writeFileAtomic } from '../formats/atomic-file.ts';

const COMMIT = /^[0-9a-f]{40}$/;

/** Folder of one model in the cache. */
export class ModelCache {
  readonly folder: string;

  constructor(cacheFolder: string, repository: string) {
    this.folder = join(cacheFolder, `models--${repository.replace('/', '--')}`);
  }

  /** The commit that a revision meant when it was last looked up, or null. */
  findCommit(revision: string): string | null {
    if (COMMIT.test(revision)) return existsSync(this.snapshot(revision)) ? revision : null;
    try {
      const commit = readFileSync(join(this.folder, 'refs', revision), 'utf8').trim();
      return COMMIT.test(commit) ? commit : null;
    } catch {
      return null;
    }
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  blob(etag: string): string {
    return join(this.folder, 'blobs', etag);
  }

  /** True where a file of a snapshot is there, of `size` bytes where that is known; a link whose blob is gone is not. */
  has(commit: string, file: string, size?: number): boolean {
    const found = statSync(join(this.snapshot(commit), file), { throwIfNoEntry: false });
    return found !== undefined && (size === undefined || found.size === size);
  }

  /** Remember which commit a revision means. @throws {FileError}. */
  writeRef(revision: string, commit: string): void {
    if (revision === commit) return;
    const path = join(this.folder, 'refs', revision);
    this.#write(path, () => writeFileAtomic(path, commit));
  }

  /** Let a file of a snapshot be a blob: by a link, or a copy where the file system has none. @throws {FileError}. */
  link(commit: string, file: string, etag: string): void {
    const path = join(this.snapshot(commit), file);
    this.#write(path, () => {
      if (isThere(path)) unlinkSync(path); // a link to a blob that is gone
      const blob = this.blob(etag);
      try {
        symlinkSync(relative(dirname(path), blob), path);
      } catch (cause) {
        const code = (cause as NodeJS.ErrnoException).code;
        if (code === 'EEXIST') return; // another process made the same link
        if (code !== 'EPERM' && code !== 'ENOSYS' && code !== 'ENOTSUP') throw cause;
        copyFileSync(blob, path);
      }
    });
  }

  #write(path: string, action: () => void): void {
    try {
      mkdirSync(dirname(path), { recursive: true });
      action();
    } catch (cause) {
      throw cause instanceof FileError ? cause : fileErrorOf('write', path, cause);
    }
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
