// The folder of one run (--out): which files it has, when a new run may enter it, and the lock while one writes.
// Files that are not a run's own (a samples file kept there, say) are never touched.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { nameAsFlag } from '../src/config/flags.ts';
import { ConfigError, FileError } from '../src/errors/errors.ts';
import { makeFolder } from '../src/formats/atomic-file.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import { readRun } from '../src/formats/run.ts';
import { isTemporaryOf } from '../src/formats/temporary-names.ts';
import { findJoined } from './joined-folder.ts';
import { describeDifference, findIdentityDifference, type IdentityDifference } from './run-identity.ts';
import { takeLock } from './run-lock.ts';

/** A run's own files, in the order in which `overwrite` removes them: without a checkpoint a half-removed run starts at step 0. */
export const RUN_FILES = [
  'checkpoint.json',
  'metrics.jsonl',
  'mask.json',
  'gates.json',
  'report.html',
  'run.json',
] as const;
/** What other commands leave in a run's folder about its mask; `overwrite` removes it, for the mask is another then. */
const RESULT_FILES = [
  'bench.json',
  'cells',
  'comparison.json',
  'predictions',
  'predictions.jsonl',
  'report-files',
  'results.csv',
  'results.json',
  'shared',
  '.join',
] as const;
const LOCK_FILE = '.lock';

export type RunFileName = (typeof RUN_FILES)[number];

/** fresh: must not hold a run; resume: continue the one there, if any; overwrite: remove the one there. */
export type RunEntry = 'fresh' | 'resume' | 'overwrite';

/** An entered run folder, locked until `close`. */
export interface RunFolder {
  readonly path: string;
  /** true iff a run was there and is to be continued */
  readonly isResumed: boolean;
  file(name: RunFileName): string;
  close(): void;
}

/** Enter `path` for writing: made if absent, locked, emptied of an old run where that is asked.
 * @param identity what decides the numbers; a resume must agree with the run.json found.
 * @param settings those that inputs are made by, by which a resume whose inputs differ names the setting that made them.
 * @throws {ConfigError} a run is there and neither resume nor overwrite was asked, or the resume has other settings;
 * {FileError} not writable, not a folder, or another process writes it; {FormatError} run.json is damaged. */
export function enterRunFolder(options: {
  path: string;
  entry: RunEntry;
  identity: JsonRecord;
  settings?: JsonRecord;
}): RunFolder {
  const { path, entry, identity, settings } = options;
  makeFolder(path);
  const release = takeLock(join(path, LOCK_FILE));
  try {
    const joined = findJoined(path);
    if (joined !== null) {
      throw new FileError(
        `Expected to be the only one writing this run folder, but a process with --join is at work in it (${joined}); join it, wait for it, or delete the file if no such process runs.`,
      );
    }
    const hasRun = holdsRun(path);
    if (hasRun && entry === 'fresh') {
      throw new ConfigError(
        `Expected ${path} to hold no run, found \`${RUN_FILES.find((name) => existsSync(join(path, name)))}\`; pass --resume to continue it or --overwrite to start anew.`,
      );
    }
    if (hasRun && entry === 'resume') checkSameRun(path, { identity, settings });
    removeTornFiles(path);
    if (entry === 'overwrite' && hasRun) {
      for (const name of RESULT_FILES) rmSync(join(path, name), { recursive: true, force: true });
    }
    if (entry === 'overwrite') for (const name of RUN_FILES) rmSync(join(path, name), { force: true });
    return {
      path,
      isResumed: hasRun && entry === 'resume',
      file: (name) => join(path, name),
      close: release,
    };
  } catch (cause) {
    release();
    throw cause;
  }
}

/** True iff the folder holds a file of a run; false where it is absent, empty or holds only other files. */
export function holdsRun(path: string): boolean {
  return RUN_FILES.some((name) => existsSync(join(path, name)));
}

function checkSameRun(path: string, now: { identity: JsonRecord; settings: JsonRecord | undefined }): void {
  const runPath = join(path, 'run.json');
  if (!existsSync(runPath)) return;
  const run = readRun(runPath);
  const difference = findIdentityDifference(run.identity, now.identity);
  if (!difference) return;
  // A hash shows that an input differs; a setting shows why.
  const isHash = /^sha256:/.test(String(difference.before)) && /^sha256:/.test(String(difference.now));
  const cause = isHash && now.settings ? findSetting(run.config, now.settings) : null;
  throw new ConfigError(describeDifference(cause ?? difference));
}

/** The first of `settings` that a run had otherwise, named as its flag. */
function findSetting(before: JsonRecord, settings: JsonRecord): IdentityDifference | null {
  const known = Object.fromEntries(Object.entries(before).filter(([key]) => key in settings));
  const difference = findIdentityDifference(known, settings);
  return difference && { ...difference, key: nameAsFlag(difference.key) };
}

/** Temporary files left by a killed process; the holder of the folder's lock is its only writer. */
function removeTornFiles(path: string): void {
  for (const name of readdirSync(path)) {
    if (RUN_FILES.some((file) => isTemporaryOf(file, name))) rmSync(join(path, name), { force: true });
  }
}
