// Numbers of flags: with the suffixes k and m, checked against their range.
import { parseCount } from '../config/flags.ts';
import { ConfigError } from '../errors/errors.ts';

/** An integer flag such as `--contexts 2k`. @throws {ConfigError} not an integer, or below `least`. */
export function readIntegerFlag(flag: string, options: { text: string; least: number }): number {
  const parsed = parseCount(options.text);
  // a count with a unit may be a fraction of it: 3.3m is the nearest whole number of tokens
  const value = parsed !== null && /[km]\s*$/i.test(options.text) ? Math.round(parsed) : parsed;
  if (value === null || !Number.isInteger(value) || value < options.least) {
    throw new ConfigError(`Expected ${flag} to be an integer of at least ${options.least}, got \`${options.text}\`.`);
  }
  return value;
}

/** A number flag. @throws {ConfigError} not a number, or outside `least` … `most`. */
export function readNumberFlag(flag: string, options: { text: string; least: number; most?: number }): number {
  const { text, least, most = Number.POSITIVE_INFINITY } = options;
  const value = parseCount(text);
  if (value === null || !(value >= least && value <= most)) {
    const range = most === Number.POSITIVE_INFINITY ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new ConfigError(`Expected ${flag} to be a number ${range}, got \`${text}\`.`);
  }
  return value;
}

/** One of a few names. @throws {ConfigError} another. */
export function readChoiceFlag<Name extends string>(
  flag: string,
  options: { text: string; names: readonly Name[] },
): Name {
  const found = options.names.find((name) => name === options.text);
  if (found !== undefined) return found;
  throw new ConfigError(`Expected ${flag} to be one of ${options.names.join(', ')}, got \`${options.text}\`.`);
}
