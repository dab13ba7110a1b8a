// Every key of a preset as a flag, and the preset that a model gets when none is named.
import { type Command, Option } from 'commander';
import type { Config } from '../config/config.ts';
import { fitConfig } from '../config/fit.ts';
import { listConfigKeys, resolveConfig } from '../config/flags.ts';
import { loadPreset } from '../config/presets.ts';
import type { ModelShape } from '../core/shapes.ts';
import { say } from './terminal.ts';

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

/** Settings in force, and how they came about. */
export interface ReadSettings {
  readonly config: Config;
  /** as asked for, before anything was fitted */
  readonly asked: Config;
  /** keys the person set, by flag or in a preset file of their own; they are never changed to fit */
  readonly given: ReadonlySet<string>;
  /** true where the model ends before the preset's longest sample */
  readonly isCut: boolean;
}

/** The settings in force: the preset of --config, or of the demo, or of the architecture, with flags laid over it, fitted to the model.
 * @param model name as in --model, and its shape.
 * @throws {ConfigError} a flag or key out of range, both cuts at once, a length by flag that the model forbids. */
export function readConfigFlags(
  flags: Record<string, unknown>,
  model: { name: string; shape: ModelShape },
): ReadSettings {
  const preset = loadPreset(
    (flags.config as string | undefined) ?? (model.name === 'demo' ? 'demo' : model.shape.architecture),
  );
  const overrides = Object.fromEntries(listConfigKeys().map(({ key }) => [key, flags[key]]));
  const byFlag = Object.keys(overrides).filter((key) => overrides[key] !== undefined);
  const asked = resolveConfig({ preset, overrides });
  const config = fitConfig(asked, model.shape, { given: new Set(byFlag) });
  // What a person's own file asks of the lengths stays, as far as the model allows it.
  return { config, asked, given: new Set([...byFlag, ...preset.ownKeys]), isCut: config.maxTokens < asked.maxTokens };
}

/** Say on stderr which settings of the preset were changed to fit, and to what. @param to "the model and its tokenizer". */
export function sayChanges(changes: readonly string[], to: string): void {
  if (changes.length > 0) say(`duo: the preset was fitted to ${to}: ${changes.join(', ')}; a flag sets any of them.`);
}
