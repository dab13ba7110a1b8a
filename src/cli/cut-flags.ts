// The flags that cut gates into a mask: --streaming-fraction and --threshold with those that give the window, and --kv-share with --at.
import type { Command } from 'commander';
import { type Cut, chooseCut } from '../../export/cut.ts';
import type { ShareCut } from '../../export/cut-windows.ts';
import type { Window } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';
import { readIntegerFlag, readNumberFlag } from './numbers.ts';

export interface CutFlags {
  readonly streamingFraction?: string;
  readonly threshold?: string;
  readonly sink?: string;
  readonly recent?: string;
}

export interface ShareFlags {
  readonly kvShare?: string;
  readonly at?: string;
}

/** The cut by memory, for commands whose gates may have a ladder of windows. */
export function addShareOptions(command: Command): Command {
  return command
    .option(
      '--kv-share <f>',
      'keep at most this share of a full KV cache, each head with the window it needs; needs gates of several --windows',
    )
    .option('--at <n>', 'context length at which --kv-share counts; default: the longest sample that was measured');
}

/** The cut by memory that the flags ask for; null where they ask for none.
 * @param flags with every other flag that cuts or gives a window, by its own name.
 * @throws {ConfigError} a second cut, a window in addition (the ladder has them), --at alone, or a value out of range. */
export function readShareFlags(flags: ShareFlags & CutFlags): ShareCut | null {
  if (flags.kvShare === undefined) {
    if (flags.at === undefined) return null;
    throw new ConfigError('Expected --at with --kv-share, got it alone.');
  }
  const others = { '--streaming-fraction': flags.streamingFraction, '--threshold': flags.threshold };
  const second = Object.entries(others).find(([, text]) => text !== undefined)?.[0];
  if (second !== undefined) throw new ConfigError(`Expected one cut, got both --kv-share and ${second}.`);
  const windows = { '--sink': flags.sink, '--recent': flags.recent };
  const window = Object.entries(windows).find(([, text]) => text !== undefined)?.[0];
  if (window !== undefined) {
    throw new ConfigError(`Expected --kv-share without ${window}, got both; sinks and windows are those measured.`);
  }
  return {
    kvShare: readNumberFlag('--kv-share', { text: flags.kvShare, least: 0, most: 1 }),
    atTokens: readTokens('--at', { text: flags.at, least: 1 }) ?? null,
  };
}

/** @param fractionDefault what happens without a cut, for the help, where the command has one. */
export function addCutOptions(command: Command, fractionDefault = ''): Command {
  return command
    .option(
      '--streaming-fraction <f>',
      `share of KV heads that stream, the lowest gates of the whole model${fractionDefault}`,
    )
    .option('--threshold <t>', 'retrieval heads are those with a gate of at least this')
    .option('--sink <n>', 'first tokens a streaming head always sees; default: as in the gates file')
    .option('--recent <n>', 'nearest tokens a streaming head sees, its own included; default: as in the gates file');
}

/** The cut the flags ask for, or the default of the model where none is.
 * @throws {ConfigError} both cuts, no cut where one is required, or a value outside 0..1. */
export function readCutFlags(
  flags: CutFlags,
  options: { model: { heads: number; kvHeads: number }; isRequired: boolean },
): Cut {
  if (flags.streamingFraction !== undefined && flags.threshold !== undefined) {
    throw new ConfigError('Expected --streaming-fraction or --threshold, got both.');
  }
  if (options.isRequired && flags.streamingFraction === undefined && flags.threshold === undefined) {
    throw new ConfigError('Expected a cut, --kv-share, --keep, --streaming-fraction or --threshold, got none.');
  }
  return chooseCut({
    streamingFraction: readUnit('--streaming-fraction', flags.streamingFraction),
    threshold: readUnit('--threshold', flags.threshold),
    model: options.model,
  });
}

/** The window of the flags over that of the gates. @throws {ConfigError} neither has it, or a value out of range. */
export function readWindowFlags(flags: CutFlags, found: Window | null): Window {
  const sinkTokens = readTokens('--sink', { text: flags.sink, least: 0 }) ?? found?.sinkTokens;
  const recentTokens = readTokens('--recent', { text: flags.recent, least: 1 }) ?? found?.recentTokens;
  if (sinkTokens === undefined || recentTokens === undefined) {
    throw new ConfigError(
      'Expected gates that record their window, found none in their provenance; pass --sink and --recent.',
    );
  }
  return { sinkTokens, recentTokens };
}

function readUnit(flag: string, text: string | undefined): number | undefined {
  return text === undefined ? undefined : readNumberFlag(flag, { text, least: 0, most: 1 });
}

function readTokens(flag: string, options: { text: string | undefined; least: number }): number | undefined {
  const { text, least } = options;
  return text === undefined ? undefined : readIntegerFlag(flag, { text, least });
}
