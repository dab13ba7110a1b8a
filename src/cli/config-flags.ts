// Every key of a preset as a flag, and the preset that a model gets when none is named.
import { type Command, Option } from 'commander';
import type { Config } from '../config/config.ts';
import { fitConfig } from '../config/fit.ts';
import { listConfigKeys, resolveConfig } from '../config/flags.ts';
import { loadPreset } from '../config/presets.ts';
import type { ModelShape } from '../core/shapes.ts';

/** Add --config and a flag for each preset key to a command. */
export function addConfigOptions(command: Command): Command {
  command.option('--config <name|file>', 'preset: a name of configs/ or a JSON file; default: by architecture');
  for (const { flag, kind, choices, description } of listConfigKeys()) {
    const shown =
      kind === 'integer' || kind === 'number' ? 'n' : kind === 'string-list' ? 'a,b,…' : (choices?.join('|') ?? 'text');
    command.addOption(new Option(`--${flag} <${shown}>`, description));
  }
  return command;
}

/** The settings in force: the preset of --config, or of the demo, or of the architecture, with flags laid over it, fitted to the model.
 * @param model name as in --model, and its shape.
 * @throws {ConfigError} a flag or key out of range, both cuts at once, a length by flag that the model forbids. */
export function readConfigFlags(flags: Record<string, unknown>, model: { name: string; shape: ModelShape }): Config {
  const preset = loadPreset(
    (flags.config as string | undefined) ?? (model.name === 'demo' ? 'demo' : model.shape.architecture),
  );
  const overrides = Object.fromEntries(listConfigKeys().map(({ key }) => [key, flags[key]]));
  const given = new Set(Object.keys(overrides).filter((key) => overrides[key] !== undefined));
  return fitConfig(resolveConfig({ preset, overrides }), model.shape, { given });
}
