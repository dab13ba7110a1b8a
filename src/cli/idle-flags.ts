// The flags that a person wrote, for commands that refuse those which would change nothing (src/config/idle.ts).
import type { Command } from 'commander';

/** The flags given on a command line, as `--name`, without defaults. */
export function listGivenFlags(command: Command): ReadonlySet<string> {
  const given = command.options.filter((option) => command.getOptionValueSource(option.attributeName()) === 'cli');
  return new Set(given.map((option) => option.long as string));
}
