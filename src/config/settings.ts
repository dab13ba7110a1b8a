// The settings that apply to a model: a preset, overridden by what a person asks for and fitted to the model's length.
import type { ModelShape } from '../core/shapes.ts';
import type { Config } from './config.ts';
import { fitConfig } from './fit.ts';
import { resolveConfig } from './flags.ts';
import { fitLadder } from './ladder.ts';
import { loadPreset } from './presets.ts';

/** The resulting settings, and how they came about. */
export interface Settings {
  readonly config: Config;
  /** as asked for, before anything was fitted */
  readonly asked: Config;
  /** keys the person set, by flag, by option or in a preset file of their own; they are never changed to fit */
  readonly given: ReadonlySet<string>;
  /** true where the model ends before the preset's longest sample */
  readonly isCut: boolean;
}

/** Lay `overrides` over a preset and fit the result to the model.
 * @param options.preset a name of configs/ or the path of a JSON file.
 * @param options.overrides by key of a preset or of `listConfigKeys`; text is read as the flag's; undefined is skipped.
 * @param options.nameKey how errors name a key that was overridden; default: the key.
 * @throws {ConfigError} an unknown key, a value out of range, both cuts at once, a length among `overrides` that the model forbids. */
export function resolveSettings(options: {
  readonly preset: string;
  readonly overrides: Readonly<Record<string, unknown>>;
  readonly shape: ModelShape;
  readonly nameKey?: (key: string) => string;
}): Settings {
  const { shape, nameKey = (key) => key } = options;
  const preset = loadPreset(options.preset);
  const overrides = flattenTemplates(options.overrides);
  const overridden = Object.keys(overrides).filter((key) => overrides[key] !== undefined);
  const asked = resolveConfig({ preset, overrides, nameKey });
  const given = new Set([...overridden, ...preset.ownKeys]);
  const config = fitLadder(fitConfig(asked, shape, { given: new Set(overridden), nameKey }), { given, nameKey });
  // What a person's own file asks of the lengths stays, as far as the model allows it.
  return {
    config,
    asked,
    given,
    isCut: config.maxTokens < asked.maxTokens,
  };
}

/** `templates: { head }` as `templates.head`, so that each text is laid over the preset's by itself. */
function flattenTemplates(overrides: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { templates, ...rest } = overrides;
  if (typeof templates !== 'object' || templates === null) return overrides;
  const texts = Object.entries(templates).map(([key, text]) => [`templates.${key}`, text] as const);
  return { ...rest, ...Object.fromEntries(texts) };
}
