// A run folder that several processes work in at once (--join): which of them are at work, who enters first, and who writes the end.
// `.join/` holds a claim and a scratch folder of each process, `shared/` what they found for one another; both go with the last one of a
// finished run. A process that is gone is recognised by its claim (src/core/claims.ts), and what it was at work on is taken over.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Claims, STALE_MS } from '../src/core/claims.ts';
import { processName } from '../src/core/process-life.ts';
import { ConfigError, FileError } from '../src/errors/errors.ts';
import { fileErrorOf, makeFolder } from '../src/formats/atomic-file.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import { type RunFile, readRun, writeRun } from '../src/formats/run.ts';
import { findIdentityDifference, showIdentityValue } from './run-identity.ts';
import { findLockHolder } from './run-lock.ts';
import { SharedResults, waitAMoment } from './shared-results.ts';

const JOIN_FOLDER = '.join';
const SHARED_FOLDER = 'shared';

export interface JoinedFolder {
  readonly path: string;
  /** record of the run where it was finished before this process came */
  readonly finished: RunFile | null;
  /** other processes at work on it, as far as can be seen */
  readonly others: number;
  readonly shared: SharedResults;
  /** files that this process alone writes: checkpoint, metrics */
  scratch(name: string): string;
  /** Take over the end of the run, or wait for it. @returns null for the process that is to write it, else the record with the results.
   * @throws {AbortedError}. */
  awaitEnd(signal?: AbortSignal): Promise<RunFile | null>;
  /** True where no other process is at work: a record of how this one ended hides nothing. */
  isAlone(): boolean;
  close(): void;
}

/** Enter or start the run of `path`.
 * @param options.start the record of a run that begins now.
 * @throws {ConfigError} a run of other settings is there; {FileError} a process that does not share it writes the folder; {AbortedError}. */
export async function enterJoinedFolder(options: {
  readonly path: string;
  readonly identity: JsonRecord;
  readonly start: () => RunFile;
  readonly signal?: AbortSignal | undefined;
  /** default: as Claims has it; shorter ones are for tests */
  readonly staleMs?: number;
}): Promise<JoinedFolder> {
  const { path, signal, staleMs } = options;
  const home = join(path, JOIN_FOLDER);
  const own = join(home, processName());
  makeFolder(path);
  makeFolder(home);
  const claims = new Claims(staleMs === undefined ? {} : { staleMs });
  try {
    while (!take(claims, join(home, 'entry.claim'))) await waitAMoment(signal);
    try {
      if (!take(claims, `${own}.claim`)) throw new FileError(`Expected to join ${path} once, but this process has.`);
      const holder = findLockHolder(join(path, '.lock'));
      if (holder !== null) {
        throw new FileError(
          `Expected ${path} to be free or joined by all, but ${holder} writes it without --join; wait for it, or choose another --out.`,
        );
      }
      const finished = beginOrMeet(options);
      makeFolder(own);
      const shared = new SharedResults(join(path, SHARED_FOLDER), claims);
      return makeFolderHandle({ path, home, own, claims, shared, finished });
    } finally {
      claims.release(join(home, 'entry.claim'));
    }
  } catch (cause) {
    claims.close();
    throw cause;
  }
}

/** True where processes of a joined run are at work in `path`, as far as can be seen. */
export function findJoined(path: string): string | null {
  const home = join(path, JOIN_FOLDER);
  const claims = new Claims();
  const live = listMembers(home).find((member) => claims.isLive(member));
  return live ?? null;
}

function beginOrMeet(options: { path: string; identity: JsonRecord; start: () => RunFile }): RunFile | null {
  const { path, identity, start } = options;
  const runPath = join(path, 'run.json');
  if (!existsSync(runPath)) {
    const others = ['gates.json', 'mask.json', 'checkpoint.json'].find((name) => existsSync(join(path, name)));
    if (others === undefined) {
      writeRun(runPath, start());
      return null;
    }
    throw new ConfigError(
      `Expected ${path} to hold a run with run.json or none, found ${others} alone; choose another --out.`,
    );
  }
  const found = readRun(runPath);
  const difference = findIdentityDifference(found.identity, identity);
  if (difference) {
    const { key, before, now } = difference;
    throw new ConfigError(
      `Expected --join to meet a run of the same settings in ${path}, but there \`${key}\` is \`${showIdentityValue(before)}\` and here \`${showIdentityValue(now)}\`; use the same, or another --out.`,
    );
  }
  if (found.status === 'done') return found;
  if (found.status !== 'running') writeRun(runPath, { ...found, status: 'running', endedAt: null, error: null });
  return null;
}

function makeFolderHandle(parts: {
  readonly path: string;
  readonly home: string;
  readonly own: string;
  readonly claims: Claims;
  readonly shared: SharedResults;
  readonly finished: RunFile | null;
}): JoinedFolder {
  const { path, home, own, claims, shared, finished } = parts;
  const runPath = join(path, 'run.json');
  const countOthers = (): number =>
    listMembers(home).filter((member) => member !== `${own}.claim` && claims.isLive(member)).length;
  return {
    path,
    finished,
    others: countOthers(),
    shared,
    scratch: (name) => join(own, name),
    async awaitEnd(signal) {
      for (;;) {
        const record = readRun(runPath);
        if (record.status === 'done') return record;
        if (take(claims, join(home, 'end.claim'))) return null;
        await waitAMoment(signal);
      }
    },
    isAlone: () => countOthers() === 0,
    close() {
      rmSync(own, { recursive: true, force: true });
      const isDone = existsSync(runPath) && readRun(runPath).status === 'done';
      const isLast = countOthers() === 0;
      claims.close();
      if (!isDone || !isLast) return;
      rmSync(join(path, SHARED_FOLDER), { recursive: true, force: true });
      rmSync(home, { recursive: true, force: true });
    },
  };
}

function listMembers(home: string): string[] {
  if (!existsSync(home)) return [];
  return readdirSync(home)
    .filter((name) => name.endsWith('.claim') && name !== 'entry.claim' && name !== 'end.claim')
    .map((name) => join(home, name));
}

function take(claims: Claims, path: string): boolean {
  try {
    return claims.take(path);
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
}

/** For messages: after how long a process of another machine that gives no sign of life is taken for gone. */
export const STALE_SECONDS = STALE_MS / 1000;
