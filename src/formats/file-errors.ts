// Operating-system errors about files and folders as one sentence a person can act on.
import { FileError } from '../errors/errors.ts';

const SENTENCES: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space and run again',
  EDQUOT: 'your quota of the disk is used up; free some space and run again',
  EFBIG: 'it would be larger than the file system or `ulimit -f` allows; choose another disk, or raise the limit',
  EROFS: 'the file system is read-only; choose another output folder',
  EACCES: 'permission was denied; choose another output folder',
  EPERM: 'permission was denied; choose another output folder',
  ENOENT: 'its folder does not exist; create it first',
  ENOTDIR: 'a part of its path is a file, not a folder',
  EPIPE: 'its reader closed the pipe before the end',
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
