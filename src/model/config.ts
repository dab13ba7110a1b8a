// config.json of a Hugging Face folder, checked: transformers 4 and 5 spellings of Llama, Mistral, Qwen2/2.5 and Qwen3, alone or in a wrapper.
// Anything that would change the computation and that duo does not compute is refused by name; unknown other keys are ignored.
import type { ModelShape } from '../core/shapes.ts';
import { FormatError, ModelError } from '../errors/errors.ts';
import { DEFAULT_HEADS, DEFAULT_HIDDEN, DEFAULT_LAYERS, findArchitecture } from './architectures.ts';
import {
  type FieldSource,
  fieldError,
  isRecord,
  readCount,
  readFlag,
  readPositive,
  readTokenIds,
  showValue,
} from './config-fields.ts';
import { type RopeScaling, readRopeSettings } from './rope-scaling.ts';
import { findSlidingWindow, limitToWindow } from './sliding-window.ts';
import { unwrapTextConfig } from './text-config.ts';

/** What the transformer needs to know in addition to its weights. */
export interface ModelConfig {
  readonly shape: ModelShape;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** lm_head is embed_tokens */
  readonly tiedEmbeddings: boolean;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** RMSNorm over head_dim on q and k, before RoPE */
  readonly qkNorm: boolean;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  /** positions that rope reaches by `max_position_embeddings`, where a window or a stated length makes `shape.maxPositions` differ; the
   * fingerprint uses them, so that it does not depend on what duo takes as the longest text */
  readonly fingerprintPositions?: number;
  /** what the files say and duo ignores, a sentence without full stop each; no part of the computation */
  readonly notes: readonly string[];
}

/** Bounds far above any published model; they keep products of sizes inside safe integers. */
const MAX_LAYERS = 1024;
const MAX_HEADS = 4096;
const MAX_HEAD_DIM = 4096;
const MAX_WIDTH = 2 ** 22;
const MAX_VOCAB = 2 ** 24;
const MAX_POSITIONS = 2 ** 30;
/** transformers' default of `rms_norm_eps` in all four architectures. */
const DEFAULT_EPS = 1e-6;

/** Check and translate a config.json; of a wrapper's the language model.
 * @param json parsed JSON.  @param path the file's path, for errors.
 * @param files.storesHead whether the weights hold an lm_head, for wrappers; absent where there are none.
 * @param files.textLength `model_max_length` of tokenizer_config.json, for linear scaling.
 * @throws {FormatError} a field is missing, of a wrong type or out of range;
 * {ModelError} architecture, quantisation, activation, rope type or layer type that duo does not compute. */
export function parseModelConfig(
  json: unknown,
  path: string,
  files: { storesHead?: boolean; textLength?: number } = {},
): ModelConfig {
  if (!isRecord(json)) throw new FormatError(`Expected ${path} to hold a JSON object, got ${showValue(json)}.`);
  const notes: string[] = [];
  const file: FieldSource = { fields: json, place: path };
  const source = unwrapTextConfig(file, { storesHead: files.storesHead, notes });
  const facts = findArchitecture(source);
  const { architecture, defaults } = facts;
  // transformers leaves fields with the default value out of a `text_config`; a config.json has all that matter.
  const inner = <T>(fallback: T): { fallback?: T } => (source === file ? {} : { fallback });
  refuseQuantization(source);
  refuseActivation(source);
  refuseBidirectional(source);

  const heads = readCount(source, 'num_attention_heads', { most: MAX_HEADS, ...inner(DEFAULT_HEADS) });
  const kvHeads = readCount(source, 'num_key_value_heads', {
    most: MAX_HEADS,
    // null is not absent here.
    fallback: 'num_key_value_heads' in source.fields ? heads : (defaults.kvHeads ?? heads),
  });
  if (heads % kvHeads !== 0) {
    throw fieldError(source, 'num_key_value_heads', `a divisor of \`num_attention_heads\` (${heads})`);
  }
  const hidden = readCount(source, 'hidden_size', { most: MAX_WIDTH, ...inner(DEFAULT_HIDDEN) });
  const declaredPositions = readCount(source, 'max_position_embeddings', {
    most: MAX_POSITIONS,
    fallback: defaults.positions,
  });
  const rope = readRopeSettings(source, {
    declaredPositions,
    most: MAX_POSITIONS,
    theta: defaults.theta,
    ...(files.textLength !== undefined && { textLength: files.textLength }),
  });
  const layers = readCount(source, 'num_hidden_layers', { most: MAX_LAYERS, ...inner(DEFAULT_LAYERS) });
  const window = findSlidingWindow(source, { architecture, layers });
  const headDim = readHeadDim(source, { hidden, heads, fallback: defaults.headDim });
  if (rope.scaling.type === 'dynamic' && headDim < 4) {
    throw new FormatError(
      `Expected the head size of ${path} to be at least 4 with dynamic rope scaling, got ${headDim}.`,
    );
  }
  notes.push(...rope.notes, ...noteDualChunks(source));
  const attentionBias = architecture !== 'mistral' && readFlag(source, 'attention_bias', false);
  const config: ModelConfig = {
    shape: {
      architecture,
      layers,
      heads,
      kvHeads,
      headDim,
      hidden,
      intermediate: readCount(source, 'intermediate_size', { most: MAX_WIDTH, ...inner(defaults.intermediate) }),
      vocab: readCount(source, 'vocab_size', { most: MAX_VOCAB, ...inner(defaults.vocab) }),
      maxPositions: rope.maxPositions,
    },
    ...(rope.maxPositions !== rope.scaledPositions && { fingerprintPositions: rope.scaledPositions }),
    rmsNormEps: readPositive(source, 'rms_norm_eps', DEFAULT_EPS),
    ropeTheta: rope.theta,
    ropeScaling: rope.scaling,
    tiedEmbeddings: readFlag(source, 'tie_word_embeddings', false),
    qkvBias: architecture === 'qwen2' || attentionBias,
    outputBias: architecture !== 'qwen2' && attentionBias,
    mlpBias: architecture === 'llama' && readFlag(source, 'mlp_bias', false),
    qkNorm: architecture === 'qwen3',
    bosTokenId: readTokenIds(source, 'bos_token_id', notes)[0] ?? null,
    eosTokenIds: readTokenIds(source, 'eos_token_id', notes),
    notes,
  };
  return limitToWindow(config, window);
}

function refuseQuantization(source: FieldSource): void {
  const quantization = source.fields.quantization_config ?? null;
  if (quantization === null) return;
  const method = isRecord(quantization) ? quantization.quant_method : quantization;
  throw new ModelError(
    `Expected ${source.place} to describe F32, F16 or BF16 weights, got \`quantization_config\` (${showValue(method ?? quantization)}): duo reads no quantised weights; use the unquantised model folder.`,
  );
}

function refuseActivation(source: FieldSource): void {
  const activation = source.fields.hidden_act ?? 'silu';
  // Two names of one function.
  if (activation === 'silu' || activation === 'swish') return;
  throw new ModelError(
    `Expected \`hidden_act\` of ${source.place} to be "silu", got ${showValue(activation)}: duo computes no other activation; use another model.`,
  );
}

/** Embedding models that keep the class of a language model (gte-Qwen2). */
function refuseBidirectional(source: FieldSource): void {
  if (readFlag(source, 'is_causal', true)) return;
  throw new ModelError(
    `Expected \`is_causal\` of ${source.place} to be true or absent, got \`false\`: duo computes causal attention only; use a model that generates text.`,
  );
}

function readHeadDim(source: FieldSource, sizes: { hidden: number; heads: number; fallback: number | null }): number {
  const { hidden, heads } = sizes;
  const { head_dim: given = sizes.fallback } = source.fields;
  // transformers takes 0 for absent too.
  const isAbsent = (given ?? 0) === 0;
  if (isAbsent && hidden % heads !== 0) {
    throw fieldError(
      source,
      'hidden_size',
      `a multiple of \`num_attention_heads\` (${heads}) where \`head_dim\` is absent`,
    );
  }
  const most = { most: MAX_HEAD_DIM, ...(sizes.fallback !== null && { fallback: sizes.fallback }) };
  const headDim = isAbsent ? hidden / heads : readCount(source, 'head_dim', most);
  if (headDim % 2 === 0) return headDim;
  throw new FormatError(
    `Expected the head size of ${source.place} to be even, because RoPE turns pairs, got ${headDim}.`,
  );
}

/** Qwen2.5-1M: transformers computes plain attention too. */
function noteDualChunks(source: FieldSource): string[] {
  const dual = source.fields.dual_chunk_attention_config ?? null;
  if (dual === null) return [];
  const length = isRecord(dual) ? dual.original_max_position_embeddings : undefined;
  const where = typeof length === 'number' ? `beyond ${length} tokens` : 'on long texts';
  return [
    `${source.place} holds \`dual_chunk_attention_config\`, which duo ignores, as transformers does: ${where} the model was made to attend in chunks`,
  ];
}
