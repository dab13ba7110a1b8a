// Where a file of a run is asked for, the run's folder is accepted too.
import { statSync } from 'node:fs';
import { join } from 'node:path';

/** `path`, or the file of that name in it where it is a folder. @param name gates.json or mask.json */
export function findRunFile(path: string, name: 'gates.json' | 'mask.json'): string {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, name) : path;
  } catch {
    return path; // a part of it is a file: the reader's error says so
  }
}
