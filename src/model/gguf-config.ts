// The metadata of a GGUF file as a model's config. Fields become those of a config.json and pass its checks; what would change the computation
// and is not computed is refused by its GGUF name. Keys: docs/gguf.md of ggml and llama.cpp's llama-arch.cpp; other keys are ignored.
import { FormatError, ModelError } from '../errors/errors.ts';
import type { GgufHead, GgufValue } from '../formats/gguf.ts';
import { type ModelConfig, parseModelConfig } from './config.ts';
import { limitToWindow, type SlidingWindow } from './sliding-window.ts';

const CLASS_NAMES: Readonly<Record<string, string>> = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};
/** Scalars of the computation that only other models set, with the value at which they do nothing (0 too, as llama.cpp has it). */
const NEUTRAL: Readonly<Record<string, number>> = {
  logit_scale: 1,
  embedding_scale: 1,
  residual_scale: 1,
  expert_count: 0,
  'attention.clamp_kqv': 0,
  attn_logit_softcapping: 0,
  final_logit_softcapping: 0,
};
/** llama.cpp ends a turn at these tokens as well, whatever the metadata say. */
const END_OF_TURN = new Set([
  '<|eot_id|>',
  '<|eom_id|>',
  '<|im_end|>',
  '<|end|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|end_of_text|>',
]);
const CONTROL = 3;

/** Reads fields of one metadata table and names them in errors. */
export class GgufFields {
  readonly architecture: string;
  private readonly head: GgufHead;

  /** @throws {ModelError} an architecture that duo does not compute; {FormatError} none. */
  constructor(head: GgufHead) {
    this.head = head;
    const architecture = head.metadata.get('general.architecture');
    if (typeof architecture !== 'string') throw this.error('general.architecture', 'a text');
    if (!(architecture in CLASS_NAMES)) {
      throw new ModelError(
        `Expected \`general.architecture\` of ${head.path} to be ${Object.keys(CLASS_NAMES).join(', ')}, got \`${architecture.slice(0, 60)}\`: duo does not compute this architecture; use another model.`,
      );
    }
    this.architecture = architecture;
  }

  get(key: string): GgufValue | undefined {
    return this.head.metadata.get(key);
  }

  /** A field of the architecture: `block_count` is `llama.block_count`. */
  own(key: string): GgufValue | undefined {
    return this.get(`${this.architecture}.${key}`);
  }

  error(key: string, expected: string): FormatError {
    const value = this.head.metadata.get(key);
    const found =
      value === undefined
        ? 'nothing'
        : `\`${String(Array.isArray(value) ? `${value.length} values` : value).slice(0, 60)}\``;
    return new FormatError(`Expected \`${key}\` of ${this.head.path} to be ${expected}, got ${found}.`);
  }

  refuse(key: string, expected: string): ModelError {
    return new ModelError(
      `${this.error(key, expected).message.slice(0, -1)}: duo does not compute it; use another model.`,
    );
  }

  /** An integer of at least 1. Some converters write one for each layer: all equal is one. */
  ownCount(key: string, fallback?: number): number {
    const value = this.own(key) ?? fallback;
    const first = Array.isArray(value) ? value[0] : value;
    if (Array.isArray(value) && value.some((each) => each !== first)) {
      throw this.refuse(`${this.architecture}.${key}`, 'the same in every layer');
    }
    if (typeof first !== 'number' || !Number.isSafeInteger(first) || first < 1) {
      throw this.error(`${this.architecture}.${key}`, 'an integer of at least 1');
    }
    return first;
  }

  ownPositive(key: string, fallback?: number): number {
    const value = this.own(key) ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
      throw this.error(`${this.architecture}.${key}`, 'a number greater than 0');
    }
    return value;
  }

  /** A token id, null where absent. */
  tokenId(name: string): number | null {
    const key = `tokenizer.ggml.${name}`;
    const value = this.get(key) ?? null;
    if (value === null) return null;
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw this.error(key, 'a token id');
    // −1 and 2^32 − 1 mean none.
    return value < 0 || value === 2 ** 32 - 1 ? null : value;
  }
}

/** Translate the metadata.
 * @param head of the file, or of the first of a split model.
 * @param tensors.shapeOf shape of a tensor by its Hugging Face name, null where there is none.  @param tensors.ropeFactors `rope_freqs.weight`, or null.
 * @throws {FormatError} a field is missing, of a wrong type or out of range; {ModelError} something that duo does not compute. */
export function parseGgufConfig(
  head: GgufHead,
  tensors: { shapeOf: (name: string) => readonly number[] | null; ropeFactors: Float32Array | null },
): ModelConfig {
  const fields = new GgufFields(head);
  const { architecture } = fields;
  const { shapeOf, ropeFactors } = tensors;
  const vocab = shapeOf('model.embed_tokens.weight')?.[0];
  if (vocab === undefined) {
    throw new ModelError(`Expected tensor \`token_embd.weight\` in ${head.path}, found none; download the file again.`);
  }
  const heads = fields.ownCount('attention.head_count');
  const hidden = fields.ownCount('embedding_length');
  const positions = fields.ownCount('context_length');
  const headDim = fields.ownCount('attention.key_length', hidden / heads);
  refuseOthers(fields, { headDim });
  const config = parseModelConfig(
    {
      model_type: architecture,
      architectures: [CLASS_NAMES[architecture]],
      vocab_size: vocab,
      hidden_size: hidden,
      intermediate_size: fields.ownCount('feed_forward_length'),
      num_hidden_layers: fields.ownCount('block_count'),
      num_attention_heads: heads,
      num_key_value_heads: fields.ownCount('attention.head_count_kv', heads),
      head_dim: headDim,
      rms_norm_eps: fields.ownPositive('attention.layer_norm_rms_epsilon'),
      rope_theta: fields.ownPositive('rope.freq_base', 10_000),
      rope_scaling: readScaling(fields, positions),
      max_position_embeddings: positions,
      sliding_window: null,
      tie_word_embeddings: shapeOf('lm_head.weight') === null,
      bos_token_id: fields.tokenId('bos_token_id'),
      eos_token_id: listEndTokens(fields),
    },
    head.path,
  );
  const has = (part: string): boolean => shapeOf(`model.layers.0.${part}`) !== null;
  const complete: ModelConfig = {
    ...config,
    qkvBias: has('self_attn.q_proj.bias'),
    outputBias: has('self_attn.o_proj.bias'),
    mlpBias: has('mlp.down_proj.bias'),
    qkNorm: has('self_attn.q_norm.weight'),
    ...(ropeFactors !== null && {
      ropeScaling: { type: 'factors', factors: readFactors(fields, { config, ropeFactors }) },
    }),
  };
  return limitToWindow(complete, readWindow(fields));
}

function refuseOthers(fields: GgufFields, sizes: { headDim: number }): void {
  const { architecture } = fields;
  const { headDim } = sizes;
  for (const [key, neutral] of Object.entries(NEUTRAL)) {
    const value = fields.own(key) ?? neutral;
    if (value !== neutral && value !== 0) throw fields.refuse(`${architecture}.${key}`, `${neutral} or absent`);
  }
  for (const key of ['rope.dimension_count', 'attention.value_length']) {
    if (fields.ownCount(key, headDim) !== headDim)
      throw fields.refuse(`${architecture}.${key}`, `the head size ${headDim}`);
  }
  const scale = fields.own('attention.scale') ?? 0;
  if (typeof scale !== 'number' || (scale !== 0 && Math.abs(scale * Math.sqrt(headDim) - 1) > 1e-5)) {
    throw fields.refuse(`${architecture}.attention.scale`, `1/sqrt(${headDim})`);
  }
  if ((fields.own('attention.causal') ?? true) !== true)
    throw fields.refuse(`${architecture}.attention.causal`, 'true');
}

/** The window of llama.cpp's converter for models whose layers all have it; 0 means none. */
function readWindow(fields: GgufFields): SlidingWindow | null {
  const key = `${fields.architecture}.attention.sliding_window`;
  const tokens = fields.own('attention.sliding_window') ?? 0;
  if (typeof tokens !== 'number' || !Number.isInteger(tokens) || tokens < 0) {
    throw fields.error(key, 'a number of tokens');
  }
  if (tokens === 0) return null;
  return {
    tokens,
    found: `\`${key}\` is ${tokens}`,
    cure: 'take a file made without a window',
  };
}

/** As a config.json's `rope_scaling`; llama.cpp takes a factor without a type for linear. */
function readScaling(fields: GgufFields, positions: number): Record<string, unknown> | null {
  const { architecture } = fields;
  const factor = fields.own('rope.scaling.factor') ?? fields.own('rope.scale_linear') ?? 0;
  const type = fields.own('rope.scaling.type') ?? (factor === 0 ? 'none' : 'linear');
  if (type === 'none') return null;
  if (type !== 'linear' && type !== 'yarn')
    throw fields.refuse(`${architecture}.rope.scaling.type`, 'none, linear or yarn');
  if (typeof factor !== 'number' || !Number.isFinite(factor) || factor < 0) {
    throw fields.error(`${architecture}.rope.scaling.factor`, 'a number of at least 1');
  }
  if (factor === 0 || (factor === 1 && type === 'linear')) return null;
  if (type === 'linear') return { rope_type: 'linear', factor };
  const attention =
    fields.ownPositive('rope.scaling.attn_factor', 1) * fields.ownPositive('rope.scaling.yarn_attn_factor', 1);
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: fields.ownCount('rope.scaling.original_context_length', positions),
    beta_fast: fields.ownPositive('rope.scaling.yarn_beta_fast', 32),
    beta_slow: fields.ownPositive('rope.scaling.yarn_beta_slow', 1),
    attention_factor: attention * (factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1),
  };
}

function readFactors(fields: GgufFields, options: { config: ModelConfig; ropeFactors: Float32Array }): number[] {
  const { config, ropeFactors } = options;
  if (config.ropeScaling.type !== 'none') {
    throw fields.refuse(`${fields.architecture}.rope.scaling.type`, 'none together with a tensor `rope_freqs.weight`');
  }
  if (ropeFactors.length !== config.shape.headDim / 2 || ropeFactors.some((factor) => !(factor > 0))) {
    throw new FormatError(
      `Expected tensor \`rope_freqs.weight\` of a model with ${fields.architecture}.embedding_length to hold ${config.shape.headDim / 2} numbers above 0, got ${ropeFactors.length} values; download the file again.`,
    );
  }
  return [...ropeFactors];
}

function listEndTokens(fields: GgufFields): number[] {
  const named = ['eos_token_id', 'eot_token_id', 'eom_token_id'].map((name) => fields.tokenId(name));
  const tokens = fields.get('tokenizer.ggml.tokens');
  const types = fields.get('tokenizer.ggml.token_type');
  const known =
    Array.isArray(tokens) && Array.isArray(types)
      ? tokens.flatMap((token, id) => (types[id] === CONTROL && END_OF_TURN.has(token as string) ? [id] : []))
      : [];
  return [...new Set([...named.filter((id) => id !== null), ...known])];
}
