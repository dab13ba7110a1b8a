// Fits a preset to a model: lengths that the preset (not the person) chose are capped, and the cut's default follows the head counts.
import type { ModelShape } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';
import { CUT_KEYS } from './check.ts';
import type { Config } from './config.ts';
import { nameAsFlag } from './flags.ts';

/** Fit `config` to `shape`.
 * @param options.given keys the person set by flag: a length among them is refused when it is too long, one from the preset is capped.
 * @param options.nameKey how errors name a key; default: as its flag.
 * @returns a copy: maxTokens and minTokens at most the model's, and exactly one cut set
 *   (0.5 of the heads stream if G < H, else 0.75).
 * @throws {ConfigError} a given length is longer than the model allows. */
export function fitConfig(
  config: Config,
  shape: ModelShape,
  options: { given?: ReadonlySet<string>; nameKey?: (key: string) => string } = {},
): Config {
  const { given = new Set<string>(), nameKey = nameAsFlag } = options;
  const fitted = { ...config };
  for (const key of ['maxTokens', 'minTokens'] as const) {
    if (config[key] <= shape.maxPositions) continue;
    if (given.has(key)) {
      throw new ConfigError(
        `Expected \`${nameKey(key)}\` to be at most the ${shape.maxPositions} tokens that the model allows, got \`${config[key]}\`.`,
      );
    }
    fitted[key] = shape.maxPositions;
  }
  if (CUT_KEYS.every((key) => fitted[key] === null)) {
    fitted.streamingFraction = shape.kvHeads < shape.heads ? 0.5 : 0.75;
  }
  return fitted;
}

/** Keys that fitting may change. */
const SHOWN_KEYS = [
  'method',
  'objective',
  'minTokens',
  'maxTokens',
  'lengthCount',
  'passkeys',
  'wordsPerPasskey',
  'quadraticSamples',
  'heldOutSamples',
  'heldOutLengthFactor',
] as const satisfies readonly (keyof Config)[];

/** The keys in which `after` differs from `before`, as clauses: "wordsPerPasskey 14 instead of 32". */
export function listChanges(before: Config, after: Config): string[] {
  return SHOWN_KEYS.filter((key) => before[key] !== after[key]).map(
    (key) => `${key} ${after[key]} instead of ${before[key]}`,
  );
}
