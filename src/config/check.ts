// Checks a preset's keys and values: one sentence for each mistake, with the key as the person wrote it.
import type { z } from 'zod';
import { jsonText } from '../core/json-text.ts';
import { ConfigError } from '../errors/errors.ts';
import { type Config, configSchema, templatesSchema } from './config.ts';
import { type KeyMeta, metaOf } from './keys.ts';
import { findNearest } from './nearest.ts';

/** One key of a preset and its place. */
export interface KeyEntry {
  /** as code and files spell it, templates as `templates.needle` */
  readonly key: string;
  readonly path: readonly string[];
  readonly meta: KeyMeta;
}

function listShape(shape: Record<string, z.ZodType>, prefix: readonly string[]): KeyEntry[] {
  return Object.entries(shape).flatMap(([name, schema]) => {
    const path = [...prefix, name];
    const meta = metaOf(schema);
    return meta ? [{ key: path.join('.'), path, meta }] : listShape(templatesSchema.shape, path);
  });
}

/** Keys that say how gates are cut into a mask; at most one is not null. */
export const CUT_KEYS = [
  'streamingFraction',
  'threshold',
  'kvShare',
  'keep',
] as const satisfies readonly (keyof Config)[];

export function isCutKey(key: string): boolean {
  return (CUT_KEYS as readonly string[]).includes(key);
}

/** Every leaf key in file order. */
export const KEY_ENTRIES: readonly KeyEntry[] = listShape(configSchema.shape, []);

/** Spellings that mask files and flags use, accepted in presets as well. */
const FILE_SPELLINGS: ReadonlyMap<string, string> = new Map([
  ['sink', 'sinkTokens'],
  ['recent', 'recentTokens'],
]);

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `keys` laid over `base`; templates one by one, `sink` and `recent` under their full names. */
export function mergeKeys(base: Record<string, unknown>, keys: Record<string, unknown>): Record<string, unknown> {
  const merged = { ...base };
  for (const [key, value] of Object.entries(keys)) {
    const before = merged[key];
    if (isRecord(before) && isRecord(value)) merged[key] = { ...before, ...value };
    else merged[FILE_SPELLINGS.get(key) ?? key] = value;
  }
  return merged;
}

/** Refuse keys no preset has.
 * @throws {ConfigError} names the nearest known key. */
export function checkKeys(keys: Record<string, unknown>, source: string): void {
  const known = Object.keys(configSchema.shape);
  for (const key of Object.keys(keys)) {
    if (known.includes(key)) continue;
    const full = FILE_SPELLINGS.get(key);
    if (full === undefined) throw unknownKey(key, { known, source });
    if (full in keys) throw new ConfigError(`Expected either \`${key}\` or \`${full}\` in ${source}, got both.`);
  }
  if (isRecord(keys.templates)) {
    const templates = Object.keys(templatesSchema.shape);
    for (const key of Object.keys(keys.templates)) {
      if (!templates.includes(key))
        throw unknownKey(`templates.${key}`, { known: templates.map((name) => `templates.${name}`), source });
    }
  }
}

function unknownKey(key: string, { known, source }: { known: readonly string[]; source: string }): ConfigError {
  return new ConfigError(
    `Unknown key \`${key}\` in ${source}; the nearest known key is \`${findNearest(key, known)}\`.`,
  );
}

/** "Expected `sinkTokens` to be an integer of at least 0, got `-1`" and where. */
export function describeMistake(mistake: {
  name: string;
  expected: string;
  value: unknown;
  source?: string | undefined;
}): string {
  const { name, expected, value, source } = mistake;
  const text = typeof value === 'object' ? (jsonText(value) as string) : String(value);
  const got = value === undefined ? 'nothing' : `\`${text}\``;
  return `Expected \`${name}\` to be ${expected}, got ${got}${source === undefined ? '' : ` in ${source}`}.`;
}

/** Check every value and the rules between keys.
 * @param options.source the file, for messages.  @param options.nameOf how a message names a key; default the key itself.
 * @throws {ConfigError} the first mistake in key order. */
export function checkConfig(
  values: Record<string, unknown>,
  options: { source?: string; nameOf?: (key: string) => string } = {},
): Config {
  const { source, nameOf = (key) => key } = options;
  const parsed = configSchema.safeParse(values);
  if (!parsed.success) {
    const paths = parsed.error.issues.map((issue) => issue.path.join('.'));
    const entry = KEY_ENTRIES.find(({ key }) => paths.some((path) => path === key || path.startsWith(`${key}.`)));
    if (!entry)
      throw new ConfigError(
        describeMistake({ name: 'templates', expected: 'an object of texts', value: values.templates, source }),
      );
    const value = entry.path.reduce<unknown>((inner, name) => (inner as Record<string, unknown>)[name], values);
    throw new ConfigError(describeMistake({ name: nameOf(entry.key), expected: entry.meta.expected, value, source }));
  }
  checkTogether(parsed.data, { source, nameOf });
  return parsed.data;
}

function checkTogether(
  config: Config,
  { source, nameOf }: { source: string | undefined; nameOf: (key: string) => string },
): void {
  const where = source === undefined ? '' : ` in ${source}`;
  const refuse = (sentence: string): never => {
    throw new ConfigError(`${sentence}${where}.`);
  };
  const cuts = CUT_KEYS.filter((key) => config[key] !== null).map((key) => `\`${nameOf(key)}\``);
  if (cuts.length > 1)
    refuse(`Expected either ${cuts.join(' or ')}, got ${cuts.length === 2 ? 'both' : `all ${cuts.length}`}`);
  if (config.kvShareTokens !== null && config.kvShare === null && config.keep === null) {
    refuse(
      `Expected \`${nameOf('kvShare')}\` or \`${nameOf('keep')}\` together with \`${nameOf('kvShareTokens')}\`, which is the length they count at, got neither`,
    );
  }
  const ordered = (low: 'minTokens' | 'depthMin', high: 'maxTokens' | 'depthMax'): void => {
    if (config[low] > config[high]) {
      refuse(
        `Expected \`${nameOf(low)}\` to be at most \`${nameOf(high)}\`, got \`${config[low]}\` and \`${config[high]}\``,
      );
    }
  };
  ordered('minTokens', 'maxTokens');
  ordered('depthMin', 'depthMax');
  if (config.passkeys > config.ordinals.length) {
    refuse(
      `Expected \`${nameOf('passkeys')}\` to be at most the number of \`${nameOf('ordinals')}\`, got \`${config.passkeys}\` and \`${config.ordinals.length}\``,
    );
  }
  if (config.passkeys > config.depthCount) {
    refuse(
      `Expected \`${nameOf('passkeys')}\` to be at most \`${nameOf('depthCount')}\`, got \`${config.passkeys}\` and \`${config.depthCount}\``,
    );
  }
  if (config.passkeys > config.alphabet.length ** config.wordsPerPasskey) {
    refuse(
      `Expected \`${nameOf('alphabet')}\` and \`${nameOf('wordsPerPasskey')}\` to allow ${config.passkeys} distinct passkeys, got \`${config.alphabet.length}\` words and \`${config.wordsPerPasskey}\` a passkey`,
    );
  }
}
