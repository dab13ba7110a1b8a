// The flags that cut gates into a mask, --streaming-fraction and --threshold, and those that give the window.
import type { Command } from 'commander';
import { type Cut, chooseCut } from '../../export/cut.ts';
import { parseCount } from '../config/flags.ts';
import type { Window } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';

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
  if (text === undefined) return undefined;
  const value = parseCount(text);
  if (value === null || value < 0 || value > 1) {
    throw new ConfigError(`Expected ${flag} to be a number from 0 to 1, got \`${text}\`.`);
  }
  return value;
}

function readTokens(flag: string, options: { text: string | undefined; least: number }): number | undefined {
  const { text, least } = options;
  if (text === undefined) return undefined;
  const value = parseCount(text);
  if (value === null || !Number.isInteger(value) || value < least) {
    throw new ConfigError(`Expected ${flag} to be an integer of at least ${least}, got \`${text}\`.`);
  }
  return value;
}
