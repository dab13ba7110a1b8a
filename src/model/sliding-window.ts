// Sliding windows of a config.json by transformers' rules. Up to the window's length they change nothing, so that duo, which computes full
// attention, takes that length for the longest text.
import type { Architecture } from '../core/shapes.ts';
import { ModelError } from '../errors/errors.ts';
import { type FieldSource, fieldError, readCount, readFlag, showValue } from './config-fields.ts';

/** MistralConfig's and Qwen's default of `sliding_window`, in force where the key is absent (not null). */
const DEFAULT_WINDOW = 4096;
/** Qwen's default of `max_window_layers`. */
const DEFAULT_FULL_LAYERS = 28;
const MAX_WINDOW = 2 ** 30;
const CURE =
  'duo computes full attention only; use a model without sliding windows, or turn them off there if the model tolerates it';

/** A window that some layers have: each token sees the `tokens` nearest ones, its own included. */
export interface SlidingWindow {
  readonly tokens: number;
  /** "`sliding_window` of /m/config.json is 4096" */
  readonly found: string;
  /** what turns it off, "set it to null" */
  readonly cure: string;
}

/** The window of those layers that have one, null where every layer sees everything.
 * @throws {ModelError} layers that are neither full nor sliding; {FormatError} a field of a wrong type or range. */
export function findSlidingWindow(
  source: FieldSource,
  model: { architecture: Architecture; layers: number },
): SlidingWindow | null {
  const { fields, place } = source;
  const types = readLayerTypes(source);
  const isQwen = model.architecture === 'qwen2' || model.architecture === 'qwen3';
  const slides = isQwen && readFlag(source, 'use_sliding_window', false);
  const other: unknown = types.find((type) => type !== 'full_attention' && !(slides && type === 'sliding_attention'));
  if (other !== undefined) {
    throw new ModelError(
      `Expected every \`layer_types\` of ${place} to be "full_attention", got ${showValue(other)}: ${CURE}.`,
    );
  }
  // Llama has no windows, and Qwen only where `use_sliding_window` is set.
  if (model.architecture === 'llama' || (isQwen && !slides)) return null;
  if (isQwen && !hasSlidingLayers(source, { types, layers: model.layers })) return null;
  const isAbsent = !('sliding_window' in fields);
  if (!isAbsent && fields.sliding_window === null) return null;
  const tokens = readCount(source, 'sliding_window', { most: MAX_WINDOW, fallback: DEFAULT_WINDOW });
  return {
    tokens,
    found: isAbsent
      ? `an absent \`sliding_window\` of ${place} means ${tokens}`
      : `\`sliding_window\` of ${place} is ${tokens}`,
    cure: isQwen ? 'set `use_sliding_window` to false' : 'set it to null',
  };
}

/** What a window shortens of a model's config. */
interface LimitedConfig {
  readonly shape: { readonly maxPositions: number };
  readonly fingerprintPositions?: number;
  readonly notes: readonly string[];
}

/** The same config, whose longest text ends where a window would begin to cut; a note says so. */
export function limitToWindow<Config extends LimitedConfig>(config: Config, window: SlidingWindow | null): Config {
  const { maxPositions } = config.shape;
  if (window === null || window.tokens >= maxPositions) return config;
  return {
    ...config,
    shape: { ...config.shape, maxPositions: window.tokens },
    fingerprintPositions: config.fingerprintPositions ?? maxPositions,
    notes: [
      ...config.notes,
      `${window.found}: full attention, which is all that duo computes, is the same up to ${window.tokens} tokens, and texts end there; to go on to ${maxPositions} with full attention, ${window.cure}`,
    ],
  };
}

function readLayerTypes(source: FieldSource): readonly unknown[] {
  const types = source.fields.layer_types ?? [];
  if (!Array.isArray(types)) throw fieldError(source, 'layer_types', 'a list or null');
  return types;
}

function hasSlidingLayers(source: FieldSource, model: { types: readonly unknown[]; layers: number }): boolean {
  if (model.types.length > 0) return model.types.includes('sliding_attention');
  const fullLayers = source.fields.max_window_layers ?? DEFAULT_FULL_LAYERS;
  if (typeof fullLayers !== 'number') throw fieldError(source, 'max_window_layers', 'a number of layers');
  return fullLayers < model.layers;
}
