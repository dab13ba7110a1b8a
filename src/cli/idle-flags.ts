// Flags that were given but would change nothing beside the others: refused, so that nobody takes a result for one that they shaped.
import type { Command } from 'commander';
import { ConfigError } from '../errors/errors.ts';

export interface FlagUse {
  /** `--name` */
  readonly flag: string;
  /** true where the command line has something that the flag acts on */
  readonly isUsed: boolean;
  /** what the flag acts on, as it follows "only with" */
  readonly needs: string;
}

/** The flags that stand on a command line, as `--name`; defaults are not among them. */
export function listGivenFlags(command: Command): ReadonlySet<string> {
  const given = command.options.filter((option) => command.getOptionValueSource(option.attributeName()) === 'cli');
  return new Set(given.map((option) => option.long as string));
}

/** @throws {ConfigError} naming the first given flag that acts on nothing. */
export function refuseIdleFlags(given: ReadonlySet<string>, uses: readonly FlagUse[]): void {
  const idle = uses.find(({ flag, isUsed }) => given.has(flag) && !isUsed);
  if (idle === undefined) return;
  throw new ConfigError(`Expected ${idle.flag} only with ${idle.needs}, got it without; it would change nothing.`);
}
