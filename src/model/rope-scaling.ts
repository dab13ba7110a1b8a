// Reads the rotary settings of a config.json: `rope_theta` with `rope_scaling` (transformers 4) or `rope_parameters` (5).
// Rules and defaults are those of transformers' modeling_rope_utils, except for yarn's `attn_factor`; the frequencies are computed in rope.ts.
import { ModelError } from '../errors/errors.ts';
import {
  type FieldSource,
  fieldError,
  isRecord,
  readCount,
  readFlag,
  readPositive,
  showName,
  showValue,
} from './config-fields.ts';

const KNOWN_TYPES = ['default', 'linear', 'dynamic', 'llama3', 'yarn'];
/** Keys of a rope block that are read, or that add nothing to its type; `attn_factor` belongs to yarn only. */
const KNOWN_KEYS = [
  ...['rope_type', 'type', 'rope_theta', 'partial_rotary_factor', 'factor', 'original_max_position_embeddings'],
  ...['low_freq_factor', 'high_freq_factor', 'beta_fast', 'beta_slow'],
  ...['attention_factor', 'mscale', 'mscale_all_dim', 'truncate'],
  // How Qwen3-VL's three positions of a token share a head: for text they are one.
  ...['mrope_section', 'mrope_interleaved'],
];
/** YaRN's rotations at which interpolation starts and ends (arXiv 2309.00071, section 3.2). */
const DEFAULT_BETA_FAST = 32;
const DEFAULT_BETA_SLOW = 1;

/** How rotary frequencies are stretched past the pre-training length; positions in tokens. */
export type RopeScaling =
  | { readonly type: 'none' }
  | { readonly type: 'linear'; readonly factor: number }
  /** a GGUF file's `rope_freqs.weight`, `[D/2]`: each divides its inverse frequency */
  | { readonly type: 'factors'; readonly factors: readonly number[] }
  | { readonly type: 'dynamic'; readonly factor: number; readonly originalMaxPositions: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    }
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly originalMaxPositions: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      /** on cos and sin, resolved */
      readonly attentionFactor: number;
      /** whole dimensions bound the ramp */
      readonly truncate: boolean;
    };

export interface RopeSettings {
  readonly theta: number;
  readonly scaling: RopeScaling;
  /** positions the model reaches with its scaling, from the declared `max_position_embeddings` */
  readonly scaledPositions: number;
  /** the longest text: the same, but where linear scaling goes further than is declared */
  readonly maxPositions: number;
  /** keys that were ignored, and what linear scaling leaves open, a sentence without full stop each */
  readonly notes: readonly string[];
}

/** Read theta and scaling.
 * @param options.declaredPositions `max_position_embeddings`.  @param options.most bound on any position count read.
 * @param options.theta where the file gives none.  @param options.textLength the tokenizer's `model_max_length`.
 * @throws {FormatError} a field of a wrong type or range; {ModelError} a rope type duo does not compute. */
export function readRopeSettings(
  source: FieldSource,
  options: { declaredPositions: number; most: number; theta: number; textLength?: number },
): RopeSettings {
  const { declaredPositions } = options;
  const rope = findRope(source);
  const holder = (rope.fields.rope_theta ?? null) === null ? source : rope;
  const theta = readPositive(holder, 'rope_theta', options.theta);
  if (theta <= 1) throw fieldError(holder, 'rope_theta', 'a number greater than 1');
  const scaling = readScaling(rope, options);
  const reached =
    scaling.type === 'dynamic' || scaling.type === 'yarn'
      ? Math.round(scaling.factor * scaling.originalMaxPositions)
      : declaredPositions;
  const scaledPositions = Math.max(declaredPositions, reached);
  const stretched = scaling.type === 'linear' ? stretchLinear(source, { ...options, factor: scaling.factor }) : null;
  const notes = [...noteUnknownKeys(rope, scaling), ...(stretched?.notes ?? [])];
  return { theta, scaling, scaledPositions, maxPositions: stretched?.maxPositions ?? scaledPositions, notes };
}

/** With linear scaling some models declare the length before it (vicuna-16k, longchat) and some the one after it (LLaMA-2-7B-32K). The length
 * that config.json or the tokenizer states decides, where it lies between both; where none does, the declared one holds and a note says so. */
function stretchLinear(
  source: FieldSource,
  options: { declaredPositions: number; factor: number; textLength?: number },
): { maxPositions: number; notes: string[] } {
  const { declaredPositions, factor, textLength } = options;
  const longest = Math.round(declaredPositions * factor);
  const stated = [source.fields.max_sequence_length, textLength].find(
    (length): length is number =>
      typeof length === 'number' && Number.isInteger(length) && length > declaredPositions && length <= longest,
  );
  if (stated !== undefined) return { maxPositions: stated, notes: [] };
  if (
    longest === declaredPositions ||
    source.fields.max_sequence_length === declaredPositions ||
    textLength === declaredPositions
  )
    return { maxPositions: declaredPositions, notes: [] };
  return {
    maxPositions: declaredPositions,
    notes: [
      `${source.place} declares ${declaredPositions} positions together with linear scaling by ${factor}: texts end there; if that is the length before scaling, set \`max_position_embeddings\` to ${longest}, which changes nothing else`,
    ],
  };
}

/** Keys that another program may compute with and duo does not. */
function noteUnknownKeys(rope: FieldSource, scaling: RopeScaling): string[] {
  const known = scaling.type === 'yarn' ? [...KNOWN_KEYS, 'attn_factor'] : KNOWN_KEYS;
  const unknown = Object.keys(rope.fields).filter((key) => !known.includes(key) && (rope.fields[key] ?? null) !== null);
  if (unknown.length === 0) return [];
  const names = unknown.map(showName).join(', ');
  return [
    `${rope.place} holds ${names}, which duo ignores; check that the model was made without, or remove what has no meaning`,
  ];
}

/** The block that applies: of `rope_parameters` and `rope_scaling` the one that scales, with the theta of `rope_parameters`.
 * @throws {ModelError} both scale; a block that duo does not compute. */
function findRope(source: FieldSource): FieldSource {
  const five = readBlock(source, 'rope_parameters');
  const four = readBlock(source, 'rope_scaling');
  refusePartial(source);
  if (four === null || five === null) return five ?? four ?? { fields: {}, place: source.place };
  const [typeOfFive, typeOfFour] = [readType(five), readType(four)];
  if (typeOfFour === 'default') return five;
  if (typeOfFive !== 'default') {
    throw new ModelError(
      `Expected one rope scaling in ${source.place}, got ${showValue(typeOfFive)} in \`rope_parameters\` and ${showValue(typeOfFour)} in \`rope_scaling\`; remove the one that the model is not to be used with.`,
    );
  }
  const theta = five.fields.rope_theta ?? null;
  return theta === null ? four : { fields: { ...four.fields, rope_theta: theta }, place: four.place };
}

/** A rope block, null where absent. */
function readBlock(source: FieldSource, name: string): FieldSource | null {
  const value = source.fields[name] ?? null;
  if (value === null) return null;
  if (!isRecord(value)) throw fieldError(source, name, 'an object or null');
  const rope: FieldSource = { fields: value, place: `\`${name}\` of ${source.place}` };
  if (Object.values(value).some(isRecord)) {
    throw new ModelError(
      `Expected one set of rotary settings in ${rope.place}, got one for each layer type: duo turns all layers alike; use another model.`,
    );
  }
  refusePartial(rope);
  return rope;
}

function readType(rope: FieldSource): unknown {
  return rope.fields.rope_type ?? rope.fields.type ?? 'default';
}

/** Frequencies over a part of the head only (Phi, GLM) are another computation. */
function refusePartial(source: FieldSource): void {
  const partial = source.fields.partial_rotary_factor ?? 1;
  if (partial === 1) return;
  throw new ModelError(
    `Expected \`partial_rotary_factor\` of ${source.place} to be 1 or absent, got ${showValue(partial)}: duo rotates whole heads only; use another model.`,
  );
}

function readScaling(rope: FieldSource, options: { declaredPositions: number; most: number }): RopeScaling {
  const type = readType(rope);
  if (type === 'default') return { type: 'none' };
  if (typeof type !== 'string' || !KNOWN_TYPES.includes(type)) {
    throw new ModelError(
      `Expected the rope type in ${rope.place} to be one of ${KNOWN_TYPES.join(', ')}, got ${showValue(type)}: duo does not compute it; use another model.`,
    );
  }
  const positions = { most: options.most, fallback: options.declaredPositions };
  const factor = type === 'yarn' ? readYarnFactor(rope, positions) : readPositive(rope, 'factor');
  if (factor < 1) throw fieldError(rope, 'factor', 'a number of at least 1');
  if (type === 'linear') return { type, factor };
  // transformers scales from the declared maximum here, whatever `original_max_position_embeddings` says.
  if (type === 'dynamic') return { type, factor, originalMaxPositions: options.declaredPositions };
  if (type === 'yarn') return readYarn(rope, { factor, positions });
  const lowFreqFactor = readPositive(rope, 'low_freq_factor');
  const highFreqFactor = readPositive(rope, 'high_freq_factor');
  if (highFreqFactor <= lowFreqFactor) {
    throw fieldError(rope, 'high_freq_factor', `greater than \`low_freq_factor\` (${lowFreqFactor})`);
  }
  const originalMaxPositions = readCount(rope, 'original_max_position_embeddings', positions);
  return { type: 'llama3', factor, lowFreqFactor, highFreqFactor, originalMaxPositions };
}

/** YaRN's factor; null means declared over original positions. */
function readYarnFactor(rope: FieldSource, positions: { most: number; fallback: number }): number {
  return readPositive(
    rope,
    'factor',
    positions.fallback / readCount(rope, 'original_max_position_embeddings', positions),
  );
}

function readYarn(
  rope: FieldSource,
  options: { factor: number; positions: { most: number; fallback: number } },
): RopeScaling {
  const { factor, positions } = options;
  const betaFast = readPositive(rope, 'beta_fast', DEFAULT_BETA_FAST);
  const betaSlow = readPositive(rope, 'beta_slow', DEFAULT_BETA_SLOW);
  if (betaFast < betaSlow) throw fieldError(rope, 'beta_fast', `at least \`beta_slow\` (${betaSlow})`);
  return {
    type: 'yarn',
    factor,
    originalMaxPositions: readCount(rope, 'original_max_position_embeddings', positions),
    betaFast,
    betaSlow,
    attentionFactor: readAttentionFactor(rope, factor),
    truncate: readFlag(rope, 'truncate', true),
  };
}

/** The factor on cos and sin: `attention_factor`, or from `mscale` and `mscale_all_dim` where both are set and not 0, or 0.1·ln(factor) + 1;
 * each times `attn_factor`, as vLLM and SGLang have it and transformers does not. */
function readAttentionFactor(rope: FieldSource, factor: number): number {
  const own = readPositive(rope, 'attn_factor', 1);
  if ((rope.fields.attention_factor ?? null) !== null) return own * readPositive(rope, 'attention_factor');
  const growth = (mscale: number): number => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  if (!rope.fields.mscale || !rope.fields.mscale_all_dim) return own * growth(1);
  return (own * growth(readPositive(rope, 'mscale'))) / growth(readPositive(rope, 'mscale_all_dim'));
}
