// Flags and options that a person set but that have no effect with the other settings: refused, so that nobody believes that they shaped the result.
import { ConfigError } from '../errors/errors.ts';

/** What a flag or option acts on. */
export interface Use {
  /** as the person wrote it: `--name`, or a key in backticks */
  readonly flag: string;
  /** true where there is something that it acts on */
  readonly isUsed: boolean;
  /** what it acts on, as it follows "only with" */
  readonly needs: string;
}

/** @throws {ConfigError} naming the first given flag that acts on nothing. */
export function refuseIdle(given: ReadonlySet<string>, uses: readonly Use[]): void {
  const idle = uses.find(({ flag, isUsed }) => given.has(flag) && !isUsed);
  if (idle === undefined) return;
  throw new ConfigError(`Expected ${idle.flag} only with ${idle.needs}, got it without; it would change nothing.`);
}
