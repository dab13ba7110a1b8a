// Messages about a run that several processes share, and what one of them reads from its record.
import { ConfigError } from '../src/errors/errors.ts';
import type { EvalRow } from '../src/formats/results.ts';
import type { RunFile } from '../src/formats/run.ts';
import type { JoinedFolder } from '../train/joined-folder.ts';
import { HEAD_METHODS } from '../train/methods/index.ts';
import type { Parts } from './parts.ts';

/** @throws {ConfigError} --join with what cannot be divided. */
export function checkJoin({ options, method }: Parts): void {
  const { join, nameOption: named = (name) => `\`${name}\`` } = options;
  if (!join || method.joins) return;
  const joining = HEAD_METHODS.filter(({ joins }) => joins).map(({ name }) => name);
  throw new ConfigError(
    `Expected ${named('join')} with a method whose samples can be divided (${joining.join(', ')}), got ${method.name}, which goes step by step.`,
  );
}

export function tellJoined({ options }: Parts, { others, finished, path }: JoinedFolder): void {
  const text = finished
    ? `the run in ${path} is finished; its results follow.`
    : others === 0
      ? `at work on the run in ${path}, which other processes may join.`
      : `at work on the run in ${path} together with ${others} other ${others === 1 ? 'process' : 'processes'}.`;
  options.onMessage?.({ kind: 'note', text });
}

/** Rows of the closing table that another process wrote into run.json. */
export function readRowsOf({ results }: RunFile, name: 'heldOut' | 'keptGain'): EvalRow[] | null {
  const rows = (results as Record<string, unknown> | null)?.[name];
  return Array.isArray(rows) && rows.length > 0 ? (rows as EvalRow[]) : null;
}

export const stepsOf = (ended: RunFile | null): number =>
  Number((ended?.results as { steps?: number } | null)?.steps ?? 0);
