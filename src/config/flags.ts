// Flags of the preset keys: every key has one in kebab case, and its text is read here. `k` = 1024, `m` = 1048576.
import { ConfigError } from '../errors/errors.ts';
import { CUT_KEYS, checkConfig, describeMistake, isCutKey, KEY_ENTRIES, type KeyEntry } from './check.ts';
import type { Config } from './config.ts';
import type { KeyKind } from './keys.ts';
import { loadPreset, type Preset } from './presets.ts';

/** One key as the command line offers it. */
export interface ConfigKey {
  /** key of `overrides`: the flag in camel case, as commander names a parsed flag */
  readonly key: string;
  /** the preset's key: `minTokens`, `templates.needle` */
  readonly name: string;
  /** without dashes: `min-tokens` */
  readonly flag: string;
  readonly kind: KeyKind;
  readonly choices: readonly string[] | null;
  readonly description: string;
}

/** Short flags that the command line promises for keys with a longer name in code. */
const SHORT_FLAGS: Readonly<Record<string, string>> = {
  sinkTokens: 'sink',
  recentTokens: 'recent',
  kvShareTokens: 'at',
};

const flagOf = (key: string): string =>
  SHORT_FLAGS[key] ?? key.replaceAll('.', '-').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const attributeOf = (key: string): string =>
  flagOf(key).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** A key of a preset as the command line writes it: `--min-tokens`. */
export const nameAsFlag = (key: string): string => `--${flagOf(key)}`;

/** Every preset key with its flag, in the order of the file. */
export function listConfigKeys(): ConfigKey[] {
  return KEY_ENTRIES.map(({ key, meta }) => ({
    key: attributeOf(key),
    name: key,
    flag: flagOf(key),
    kind: meta.kind,
    choices: meta.choices ?? null,
    description: meta.description,
  }));
}

const SUFFIXES: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 * 1024 };

/** A number as flags write it: `2000`, `32k` (×1024), `1m` (×1048576), `0.05`, `1e-3`; null when it is none. */
export function parseCount(text: string): number | null {
  const match = /^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([km]?)\s*$/i.exec(text);
  if (!match) return null;
  return Number(match[1]) * (SUFFIXES[(match[2] as string).toLowerCase()] as number);
}

/** Kinds whose value may be a text; the check of the whole preset decides whether it is valid. */
const TEXT_KINDS: readonly KeyKind[] = ['string', 'choice', 'window-list'];

function parseFlag(entry: KeyEntry, text: string): unknown {
  switch (entry.meta.kind) {
    case 'integer':
    case 'number':
      if (entry.meta.nullable && text === 'null') return null;
      return parseCount(text) ?? text;
    case 'string-list':
      return text.split(',').map((word) => word.trim());
    case 'window-list': {
      if (text === 'null') return null;
      const sizes = text.split(',').map(parseCount);
      return sizes.includes(null) ? text.trim() : sizes;
    }
    case 'string':
    case 'choice':
      return text;
  }
}

/** Lay flags over a preset.
 * @param options.preset a preset, or what `loadPreset` takes.
 * @param options.overrides by `key` of `listConfigKeys`; text is read as the flag's, other values are taken as they are, undefined is skipped.
 *   A cut (one of CUT_KEYS) replaces the preset's cut, whichever that is; both at once is an error.
 * @param options.nameKey how errors name an overridden key; default: as its flag.
 * @throws {ConfigError} one sentence that names the key as it was written, or the unknown key. */
export function resolveConfig(options: {
  preset: Preset | string;
  overrides?: Record<string, unknown>;
  nameKey?: (key: string) => string;
}): Config {
  const { nameKey = nameAsFlag } = options;
  const preset = typeof options.preset === 'string' ? loadPreset(options.preset) : options.preset;
  const values: Record<string, unknown> = { ...structuredClone(preset.config) };
  const given = Object.entries(options.overrides ?? {}).filter(([, value]) => value !== undefined);
  const entries = new Map(KEY_ENTRIES.map((entry) => [attributeOf(entry.key), entry]));
  const overridden = new Set<string>();
  if (given.some(([key]) => isCutKey(key))) for (const key of CUT_KEYS) values[key] = null;
  for (const [key, value] of given) {
    const entry = entries.get(key) ?? KEY_ENTRIES.find((candidate) => candidate.key === key);
    if (!entry) throw new ConfigError(`Unknown configuration key \`${key}\`; expected a key of a preset.`);
    const parsed = typeof value === 'string' ? parseFlag(entry, value) : value;
    if (typeof parsed === 'string' && !TEXT_KINDS.includes(entry.meta.kind)) {
      throw new ConfigError(
        describeMistake({ name: nameKey(entry.key), expected: entry.meta.expected, value: parsed }),
      );
    }
    const [first, second] = entry.path as [string, string?];
    if (second === undefined) values[first] = parsed;
    else values[first] = { ...(values[first] as object), [second]: parsed };
    overridden.add(entry.key);
  }
  return checkConfig(values, { nameOf: (key) => (overridden.has(key) ? nameKey(key) : key) });
}
