// Every key of a preset as a flag, and the preset that a model gets when none is named.
import { type Command, Option } from 'commander';
import type { Config } from '../config/config.ts';
import { type ConfigKey, listConfigKeys, nameAsFlag } from '../config/flags.ts';
import { loadPreset, PRESET_NAMES } from '../config/presets.ts';
import { resolveSettings, type Settings } from '../config/settings.ts';
import { isDemoName } from '../core/package.ts';
import type { ModelShape } from '../core/shapes.ts';
import { say } from './terminal.ts';

/** Add --config and a flag for each preset key to a command.
 * @param keys the preset's keys that the command uses; default: all. */
export function addConfigOptions(command: Command, keys?: readonly string[]): Command {
  command.option(
    '--config <name|file>',
    `preset: ${PRESET_NAMES.join(', ')}, or a JSON file; default: by architecture, whose defaults are those below, and for the demo its own`,
  );
  const { config } = loadPreset('base');
  for (const key of listConfigKeys()) {
    if (keys !== undefined && !keys.includes(key.name.split('.')[0] as string)) continue;
    const { flag, kind, choices, description } = key;
    const shown =
      kind === 'integer' || kind === 'number'
        ? 'n'
        : kind === 'string-list' || kind === 'window-list'
          ? 'a,b,…'
          : (choices?.join('|') ?? 'text');
    command.addOption(new Option(`--${flag} <${shown}>`, `${description} (default: ${describeDefault(key, config)})`));
  }
  return command;
}

/** Where the preset says null, what follows from that. */
const NULL_DEFAULTS: Readonly<Record<string, string>> = {
  streamingFraction: '0.5, or 0.75 where each query head has a KV head of its own; none with another cut',
  kvShareTokens: 'the longest sample measured',
};
const MAX_SHOWN = 60;

function describeDefault({ name }: ConfigKey, config: Config): string {
  const value = name
    .split('.')
    .reduce<unknown>((at, key) => (at as Readonly<Record<string, unknown>>)[key], config as unknown);
  if (value === null) return NULL_DEFAULTS[name] ?? 'none';
  if (Array.isArray(value)) return `${value.length} words, ${value[0]} to ${value.at(-1)}`;
  if (typeof value === 'number') return String(Number(value.toPrecision(3)) === value ? value : value.toPrecision(3));
  const text = String(value).replaceAll('\n', '\\n');
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}

/** What the flags ask for: the preset of --config, or of the demo, or of the architecture, and the keys that have a flag.
 * @param model name as in --model, and its shape. */
export function pickConfigFlags(
  flags: Record<string, unknown>,
  model: { name: string; shape: ModelShape },
): { preset: string; overrides: Record<string, unknown> } {
  const byModel = isDemoName(model.name) ? 'demo' : model.shape.architecture;
  const given = listConfigKeys().flatMap(({ key }) => (flags[key] === undefined ? [] : [[key, flags[key]] as const]));
  return { preset: (flags.config as string | undefined) ?? byModel, overrides: Object.fromEntries(given) };
}

/** The resulting settings. @param model as `pickConfigFlags`.
 * @throws {ConfigError} a flag or key out of range, both cuts at once, a length by flag that the model forbids. */
export function readConfigFlags(flags: Record<string, unknown>, model: { name: string; shape: ModelShape }): Settings {
  return resolveSettings({ ...pickConfigFlags(flags, model), shape: model.shape, nameKey: nameAsFlag });
}

/** Say on stderr which settings of the preset were changed to fit, and to what. @param to "the model and its tokenizer". */
export function sayChanges(changes: readonly string[], to: string): void {
  if (changes.length > 0) say(`duo: the preset was fitted to ${to}: ${changes.join(', ')}; a flag sets any of them.`);
}
