// Reads presets: JSON files that hold the keys in which they differ from configs/base.json, and a description.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError, FormatError } from '../errors/errors.ts';
import { fileErrorOf } from '../formats/atomic-file.ts';
import { checkConfig, checkKeys, mergeKeys } from './check.ts';
import type { Config } from './config.ts';

const MAX_PRESET_BYTES = 2 ** 20;

/** A preset with its name. */
export interface Preset {
  /** as it was asked for: a name of configs/ or a path */
  readonly name: string;
  /** what it is for and how it differs from the base preset */
  readonly description: string;
  readonly config: Config;
  /** keys that a person's own file sets; empty for a preset of configs/ */
  readonly ownKeys: ReadonlySet<string>;
}

/** Names of the files in configs/. */
export const PRESET_NAMES = ['base', 'llama', 'mistral', 'qwen2', 'qwen3', 'demo', 'tiny'] as const;

/** The package's configs/ folder, from the sources and from the built files alike. */
function findConfigsFolder(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const configs = join(folder, 'configs');
    if (existsSync(join(configs, 'base.json'))) return configs;
    if (dirname(folder) === folder) {
      throw new ConfigError('Expected the folder configs/ in the package, found none; install duo-heads again.');
    }
  }
}

function readPresetFile(path: string): { description: string; keys: Record<string, unknown> } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw fileErrorOf('read preset', path, cause);
  }
  if (text.length > MAX_PRESET_BYTES) {
    throw new FormatError(`Expected ${path} to be a preset of at most ${MAX_PRESET_BYTES} bytes, got ${text.length}.`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`Expected ${path} to be JSON: ${(cause as Error).message}.`, { cause });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new FormatError(`Expected ${path} to hold one JSON object with preset keys.`);
  }
  const { description = '', ...keys } = json as Record<string, unknown>;
  if (typeof description !== 'string') throw new ConfigError(`Expected \`description\` to be a text in ${path}.`);
  return { description, keys };
}

/** Read a preset over the base preset.
 * @param nameOrPath a name of configs/ ("llama"), or a path to a JSON file that holds any of the keys.
 * @throws {ConfigError} no such name, unknown key (names the nearest), value out of range; {FileError}; {FormatError} not JSON. */
export function loadPreset(nameOrPath: string): Preset {
  const folder = findConfigsFolder();
  const isName = (PRESET_NAMES as readonly string[]).includes(nameOrPath);
  if (!isName && !existsSync(nameOrPath)) {
    throw new ConfigError(
      `Expected a preset name (${PRESET_NAMES.join(', ')}) or the path of a JSON file, got \`${nameOrPath}\`.`,
    );
  }
  const path = isName ? join(folder, `${nameOrPath}.json`) : nameOrPath;
  const base = readPresetFile(join(folder, 'base.json')).keys;
  const { description, keys } = readPresetFile(path);
  checkKeys(keys, path);
  const config = checkConfig(mergeKeys(base, keys), { source: path });
  return { name: nameOrPath, description, config, ownKeys: new Set(isName ? [] : Object.keys(keys)) };
}
