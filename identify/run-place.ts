// Where an identification keeps what it writes: its run folder, or, where none was asked for, a temporary folder that is removed at the end.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileErrorOf } from '../src/formats/file-errors.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import type { RunFile } from '../src/formats/run.ts';
import { enterJoinedFolder, type JoinedFolder } from '../train/joined-folder.ts';
import { enterRunFolder, type RunEntry, type RunFileName, type RunFolder } from '../train/run-folder.ts';

/** What each process of a joined run writes for itself. */
const OWN_FILES: readonly RunFileName[] = ['checkpoint.json', 'metrics.jsonl'];

export interface RunPlace extends RunFolder {
  /** where several processes share the run */
  readonly joined?: JoinedFolder;
  /** false where everything in it is gone after `close` */
  readonly isKept: boolean;
}

/** Enter the run folder `out`, or a temporary one for `null`.
 * @param options.start the record of a run that begins, for `join`.
 * @throws as `enterRunFolder`, `enterJoinedFolder`; {FileError} no temporary folder. */
export async function enterRunPlace(options: {
  out: string | null;
  entry: RunEntry | 'join';
  identity: JsonRecord;
  settings: JsonRecord;
  start: () => RunFile;
  signal?: AbortSignal | undefined;
}): Promise<RunPlace> {
  const { out, entry, start, signal, ...shared } = options;
  if (out !== null && entry === 'join') {
    const { identity } = shared;
    const joined = await enterJoinedFolder({ path: out, identity, start, ...(signal && { signal }) });
    const file = (name: RunFileName): string => (OWN_FILES.includes(name) ? joined.scratch(name) : join(out, name));
    return { path: out, isKept: true, isResumed: false, file, joined, close: () => joined.close() };
  }
  const rest = { ...shared, entry: entry === 'join' ? 'fresh' : entry } as const;
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
