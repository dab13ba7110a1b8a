// Every key of a preset as a flag, and the preset that a model gets when none is named.
import { type Command, Option } from 'commander';
import { listConfigKeys, nameAsFlag } from '../config/flags.ts';
import { resolveSettings, type Settings } from '../config/settings.ts';
import type { ModelShape } from '../core/shapes.ts';
import { say } from './terminal.ts';

/** Add --config and a flag for each preset key to a command. */
export function addConfigOptions(command: Command): Command {
  command.option('--config <name|file>', 'preset: a name of configs/ or a JSON file; default: by architecture');
  for (const { flag, kind, choices, description } of listConfigKeys()) {
    const shown =
      kind === 'integer' || kind === 'number'
        ? 'n'
        : kind === 'string-list' || kind === 'window-list'
          ? 'a,b,…'
          : (choices?.join('|') ?? 'text');
    command.addOption(new Option(`--${flag} <${shown}>`, description));
  }
  return command;
}

/** What the flags ask for: the preset of --config, or of the demo, or of the architecture, and the keys that have a flag.
 * @param model name as in --model, and its shape. */
export function pickConfigFlags(
  flags: Record<string, unknown>,
  model: { name: string; shape: ModelShape },
): { preset: string; overrides: Record<string, unknown> } {
  const byModel = model.name === 'demo' ? 'demo' : model.shape.architecture;
  const given = listConfigKeys().flatMap(({ key }) => (flags[key] === undefined ? [] : [[key, flags[key]] as const]));
  return { preset: (flags.config as string | undefined) ?? byModel, overrides: Object.fromEntries(given) };
}

/** The settings in force. @param model as `pickConfigFlags`.
 * @throws {ConfigError} a flag or key out of range, both cuts at once, a length by flag that the model forbids. */
export function readConfigFlags(flags: Record<string, unknown>, model: { name: string; shape: ModelShape }): Settings {
  return resolveSettings({ ...pickConfigFlags(flags, model), shape: model.shape, nameKey: nameAsFlag });
}

/** Say on stderr which settings of the preset were changed to fit, and to what. @param to "the model and its tokenizer". */
export function sayChanges(changes: readonly string[], to: string): void {
  if (changes.length > 0) say(`duo: the preset was fitted to ${to}: ${changes.join(', ')}; a flag sets any of them.`);
}
