// The flags of the long-range objective.
import type { Command } from 'commander';
import type { Objective } from '../../identify/objective.ts';
import { ConfigError } from '../errors/errors.ts';

export interface DocumentFlags {
  readonly documents?: string;
  readonly heldOutDocuments?: string;
}

/** Add --documents and --held-out-documents to a command. */
export function addDocumentOptions(command: Command): Command {
  return command
    .option(
      '--documents <path>',
      'running text for long-range samples (as --haystack), a tenth of it held out; default: the small corpus of duo',
    )
    .option('--held-out-documents <path>', 'documents to hold out instead of a part of --documents');
}

/** Refuse flags that an objective has no use for. @throws {ConfigError} naming the first. */
export function refuseFlags(
  flags: Readonly<Record<string, unknown>>,
  options: { readonly names: readonly string[]; readonly objective: Objective; readonly instead: string },
): void {
  const { names, objective, instead } = options;
  const found = names.find((name) => flags[name] !== undefined);
  if (found === undefined) return;
  const flag = found.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw new ConfigError(
    `Expected --${flag} only with --objective ${instead}, got it with \`${objective}\`; leave it out.`,
  );
}
