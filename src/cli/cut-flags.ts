// The flags that cut gates into a mask, --streaming-fraction and --threshold, and those that give the window.
import type { Command } from 'commander';
import { type Cut, chooseCut } from '../../export/cut.ts';
import type { Window } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';
import { readIntegerFlag, readNumberFlag } from './numbers.ts';

export interface CutFlags {
  readonly streamingFraction?: string;
  readonly threshold?: string;
  readonly sink?: string;
  readonly recent?: string;
}

export function addCutOptions(command: Command): Command {
  return command
    .option('--streaming-fraction <f>', 'share of KV heads that stream, the lowest gates of the whole model')
    .option('--threshold <t>', 'retrieval heads are those with a gate of at least this')
    .option('--sink <n>', 'first tokens a streaming head always sees; default: as the gates say')
    .option('--recent <n>', 'nearest tokens a streaming head sees, its own included; default: as the gates say');
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
    throw new ConfigError('Expected a cut, --streaming-fraction or --threshold, got neither.');
  }
  return chooseCut({
    streamingFraction: readUnit('--streaming-fraction', flags.streamingFraction),
    threshold: readUnit('--threshold', flags.threshold),
    model: options.model,
  });
}

/** The window of the flags over that of the gates. @throws {ConfigError} neither tells it, or a value out of range. */
export function readWindowFlags(flags: CutFlags, found: Window | null): Window {
  const sinkTokens = readTokens('--sink', { text: flags.sink, least: 0 }) ?? found?.sinkTokens;
  const recentTokens = readTokens('--recent', { text: flags.recent, least: 1 }) ?? found?.recentTokens;
  if (sinkTokens === undefined || recentTokens === undefined) {
    throw new ConfigError(
      'Expected gates that tell their window, found none in their provenance; pass --sink and --recent.',
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
