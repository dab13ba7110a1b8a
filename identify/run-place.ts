// Where an identification keeps what it writes: its run folder, or, where none was asked for, a temporary folder that goes with it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileErrorOf } from '../src/formats/file-errors.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import { enterRunFolder, type RunEntry, type RunFolder } from '../train/run-folder.ts';

export interface RunPlace extends RunFolder {
  /** false where everything in it is gone after `close` */
  readonly isKept: boolean;
}

/** Enter the run folder `out`, or a temporary one for `null`. @throws as `enterRunFolder`; {FileError} no temporary folder. */
export function enterRunPlace(options: {
  out: string | null;
  entry: RunEntry;
  identity: JsonRecord;
  settings: JsonRecord;
}): RunPlace {
  const { out, ...rest } = options;
  if (out !== null) return { ...enterRunFolder({ path: out, ...rest }), isKept: true };
  const path = makeTemporaryFolder();
  return {
    path,
    isKept: false,
    isResumed: false,
    file: (name) => join(path, name),
    close: () => rmSync(path, { recursive: true, force: true }),
  };
}

function makeTemporaryFolder(): string {
  const start = join(tmpdir(), 'duo-identify-');
  try {
    return mkdtempSync(start);
  } catch (cause) {
    throw fileErrorOf('create', `a folder ${start}…`, cause);
  }
}
