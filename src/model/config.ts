// config.json of a Hugging Face folder, checked: transformers 4 and 5 spellings of Llama, Mistral, Qwen2/2.5 and Qwen3.
// Anything that would change the computation and that duo does not compute is refused by name; unknown other keys are ignored.
import type { Architecture, ModelShape } from '../core/shapes.ts';
import { FormatError, ModelError } from '../errors/errors.ts';
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
import { readRopeSettings } from './rope-scaling.ts';

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

/** What the transformer needs to know beside its weights. */
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
  /** what the files say and duo ignores, a sentence without full stop each; no part of the computation */
  readonly notes: readonly string[];
}

interface ArchitectureFacts {
  readonly architecture: Architecture;
  /** class name in `architectures` */
  readonly className: string;
  /** transformers' default of `max_position_embeddings` */
  readonly maxPositions: number;
}

const ARCHITECTURES: readonly ArchitectureFacts[] = [
  { architecture: 'llama', className: 'LlamaForCausalLM', maxPositions: 2048 },
  { architecture: 'mistral', className: 'MistralForCausalLM', maxPositions: 131_072 },
  { architecture: 'qwen2', className: 'Qwen2ForCausalLM', maxPositions: 32_768 },
  { architecture: 'qwen3', className: 'Qwen3ForCausalLM', maxPositions: 32_768 },
];

/** Bounds far above any published model; they keep products of sizes inside safe integers. */
const MOST_LAYERS = 1024;
const MOST_HEADS = 4096;
const MOST_HEAD_DIM = 4096;
const MOST_WIDTH = 2 ** 22;
const MOST_VOCAB = 2 ** 24;
const MOST_POSITIONS = 2 ** 30;
/** transformers' default of `rms_norm_eps` in all four architectures. */
const DEFAULT_EPS = 1e-6;
/** MistralConfig's default of `sliding_window`, in force where the key is absent (not null). */
const MISTRAL_DEFAULT_WINDOW = 4096;

/** Check and translate a config.json.
 * @param json parsed JSON.  @param path the file's path, for errors.
 * @throws {FormatError} a field is missing, of a wrong type or out of range;
 * {ModelError} architecture, quantisation, activation, rope type or sliding window that duo does not compute. */
export function parseModelConfig(json: unknown, path: string): ModelConfig {
  if (!isRecord(json)) throw new FormatError(`Expected ${path} to hold a JSON object, got ${showValue(json)}.`);
  const source: FieldSource = { fields: json, place: path };
  const facts = findArchitecture(source);
  const { architecture } = facts;
  refuseQuantization(source);
  refuseActivation(source);
  refuseBidirectional(source);

  const heads = readCount(source, 'num_attention_heads', { most: MOST_HEADS });
  const kvHeads = readCount(source, 'num_key_value_heads', { most: MOST_HEADS, fallback: heads });
  if (heads % kvHeads !== 0) {
    throw fieldError(source, 'num_key_value_heads', `a divisor of \`num_attention_heads\` (${heads})`);
  }
  const hidden = readCount(source, 'hidden_size', { most: MOST_WIDTH });
  const declaredPositions = readCount(source, 'max_position_embeddings', {
    most: MOST_POSITIONS,
    fallback: facts.maxPositions,
  });
  const rope = readRopeSettings(source, { declaredPositions, most: MOST_POSITIONS });
  refuseSlidingWindow(source, { architecture, maxPositions: rope.maxPositions });
  const headDim = readHeadDim(source, { hidden, heads });
  if (rope.scaling.type === 'dynamic' && headDim < 4) {
    throw new FormatError(
      `Expected the head size of ${path} to be at least 4 with dynamic rope scaling, got ${headDim}.`,
    );
  }
  const notes = [...rope.notes];
  const attentionBias = architecture !== 'mistral' && readFlag(source, 'attention_bias', false);
  return {
    shape: {
      architecture,
      layers: readCount(source, 'num_hidden_layers', { most: MOST_LAYERS }),
      heads,
      kvHeads,
      headDim,
      hidden,
      intermediate: readCount(source, 'intermediate_size', { most: MOST_WIDTH }),
      vocab: readCount(source, 'vocab_size', { most: MOST_VOCAB }),
      maxPositions: rope.maxPositions,
    },
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
}

/** `model_type` decides; `architectures`, where given, must agree, so that a classifier or a multimodal wrapper is not taken for the language model. */
function findArchitecture(source: FieldSource): ArchitectureFacts {
  const { model_type: type, architectures } = source.fields;
  const classes: unknown[] = Array.isArray(architectures) ? architectures : [];
  const facts = ARCHITECTURES.find(({ architecture, className }) =>
    type === undefined || type === null ? classes.includes(className) : type === architecture,
  );
  const known = ARCHITECTURES.map(({ architecture, className }) => `${architecture} (${className})`).join(', ');
  if (facts === undefined) {
    throw new ModelError(
      `Expected \`model_type\` of ${source.place} to be one of ${known}, got ${showValue(type ?? architectures ?? null)}: duo does not compute this architecture; use another model.`,
    );
  }
  if (classes.length > 0 && !classes.includes(facts.className)) {
    throw new ModelError(
      `Expected \`architectures\` of ${source.place} to name ${facts.className} beside \`model_type\` ${facts.architecture}, got ${showValue(architectures)}: duo computes ${known}; use another model.`,
    );
  }
  return facts;
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

function readHeadDim(source: FieldSource, sizes: { hidden: number; heads: number }): number {
  const { hidden, heads } = sizes;
  // transformers takes 0 for absent too.
  const isAbsent = (source.fields.head_dim ?? 0) === 0;
  if (isAbsent && hidden % heads !== 0) {
    throw fieldError(
      source,
      'hidden_size',
      `a multiple of \`num_attention_heads\` (${heads}) where \`head_dim\` is absent`,
    );
  }
  const most = { most: MOST_HEAD_DIM };
  const headDim = isAbsent ? hidden / heads : readCount(source, 'head_dim', most);
  if (headDim % 2 === 0) return headDim;
  throw new FormatError(
    `Expected the head size of ${source.place} to be even, because RoPE turns pairs, got ${headDim}.`,
  );
}

function refuseSlidingWindow(source: FieldSource, model: { architecture: Architecture; maxPositions: number }): void {
  const { fields, place } = source;
  const cure =
    'duo computes full attention only; use a model without sliding windows, or turn them off there if the model tolerates it';
  const layerTypes = fields.layer_types ?? [];
  if (!Array.isArray(layerTypes)) throw fieldError(source, 'layer_types', 'a list or null');
  const other: unknown = layerTypes.find((type) => type !== 'full_attention');
  if (other !== undefined) {
    throw new ModelError(
      `Expected every \`layer_types\` of ${place} to be "full_attention", got ${showValue(other)}: ${cure}.`,
    );
  }
  if (model.architecture === 'llama') return;
  const window =
    'sliding_window' in fields || model.architecture !== 'mistral'
      ? (fields.sliding_window ?? null)
      : MISTRAL_DEFAULT_WINDOW;
  if (window === null) return;
  if (model.architecture !== 'mistral') {
    if (!readFlag(source, 'use_sliding_window', false)) return;
    throw new ModelError(
      `Expected \`use_sliding_window\` of ${place} to be false, got true (window ${showValue(window)}): ${cure}.`,
    );
  }
  if (typeof window !== 'number') throw fieldError(source, 'sliding_window', 'a number of tokens or null');
  if (window >= model.maxPositions) return;
  const found = 'sliding_window' in fields ? `${window}` : `nothing, which means ${window}`;
  throw new ModelError(
    `Expected \`sliding_window\` of ${place} to be null or at least ${model.maxPositions} positions, got ${found}: ${cure}.`,
  );
}
