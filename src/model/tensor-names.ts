// The tensors a Hugging Face checkpoint of Llama, Mistral, Qwen2 or Qwen3 must hold, with their shapes.
// Checkpoints may name them with another prefix; the rule here is that of kernels/core/tensor_names.cpp.
// Linear weights are [out, in] row-major: y = x·Wᵀ. Other tensors in the files (stored rotary tables, a tied lm_head except in tied-head.ts) are not read.
import type { ModelConfig } from './config.ts';

/** Name and shape of one tensor. */
export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Names that do not repeat by layer. */
export const EMBEDDING_NAME = 'model.embed_tokens.weight';
export const FINAL_NORM_NAME = 'model.norm.weight';
export const HEAD_NAME = 'lm_head.weight';

/** `model.layers.<layer>.<part>`, for example part `self_attn.q_proj.weight`. */
export function nameLayerTensor(layerIndex: number, part: string): string {
  return `model.layers.${layerIndex}.${part}`;
}

/** What saving programs put before a name: data-parallel training, PEFT, and torch.compile anywhere in it. */
const SAVED_PREFIXES = ['module.', 'base_model.model.'];
const COMPILED = '_orig_mod.';
/** Prefixes of the language model's names: in a wrapper saved by transformers 5 and 4, as the field of a trainer, bare, and saved without its output layer. */
const PREFIXES = ['model.language_model.', 'language_model.model.', 'language_model.', 'model.model.', 'model.', ''];
const PARTS =
  /^(?:embed_tokens\.weight|norm\.weight|layers\.\d+\.(?:input_layernorm|post_attention_layernorm|self_attn\.[qkvo]_proj|self_attn\.[qk]_norm|mlp\.(?:gate|up|down)_proj)\.(?:weight|bias))$/;

/** The name of a stored tensor as a bare checkpoint has it: `model.language_model.layers.0.mlp.up_proj.weight` →
 * `model.layers.0.mlp.up_proj.weight`. @returns null for a tensor that the computation does not read, such as a vision tower's. */
export function findPlainName(stored: string): string | null {
  let name = stored.replaceAll(COMPILED, '');
  for (const prefix of SAVED_PREFIXES) if (name.startsWith(prefix)) name = name.slice(prefix.length);
  for (const prefix of PREFIXES) {
    if (!name.startsWith(prefix)) continue;
    const part = name.slice(prefix.length);
    if (part === HEAD_NAME) return HEAD_NAME;
    if (PARTS.test(part)) return `model.${part}`;
  }
  return null;
}

/** Every tensor the computation reads, in the order of the computation; lm_head.weight is absent where embeddings are tied. */
export function listExpectedTensors(config: ModelConfig): ExpectedTensor[] {
  const { layers, hidden, vocab } = config.shape;
  const parts = listLayerParts(config);
  const tensors: ExpectedTensor[] = [{ name: EMBEDDING_NAME, shape: [vocab, hidden] }];
  for (let layerIndex = 0; layerIndex < layers; layerIndex++) {
    for (const { name, shape } of parts) tensors.push({ name: nameLayerTensor(layerIndex, name), shape });
  }
  tensors.push({ name: FINAL_NORM_NAME, shape: [hidden] });
  if (!config.tiedEmbeddings) tensors.push({ name: HEAD_NAME, shape: [vocab, hidden] });
  return tensors;
}

function listLayerParts(config: ModelConfig): ExpectedTensor[] {
  const { heads, kvHeads, headDim, hidden, intermediate } = config.shape;
  const queryWidth = heads * headDim;
  const kvWidth = kvHeads * headDim;
  const parts: ExpectedTensor[] = [];
  const addLinear = (name: string, sizes: { out: number; in: number; bias: boolean }): void => {
    parts.push({ name: `${name}.weight`, shape: [sizes.out, sizes.in] });
    if (sizes.bias) parts.push({ name: `${name}.bias`, shape: [sizes.out] });
  };
  parts.push({ name: 'input_layernorm.weight', shape: [hidden] });
  addLinear('self_attn.q_proj', { out: queryWidth, in: hidden, bias: config.qkvBias });
  addLinear('self_attn.k_proj', { out: kvWidth, in: hidden, bias: config.qkvBias });
  addLinear('self_attn.v_proj', { out: kvWidth, in: hidden, bias: config.qkvBias });
  if (config.qkNorm) {
    parts.push({ name: 'self_attn.q_norm.weight', shape: [headDim] });
    parts.push({ name: 'self_attn.k_norm.weight', shape: [headDim] });
  }
  addLinear('self_attn.o_proj', { out: hidden, in: queryWidth, bias: config.outputBias });
  parts.push({ name: 'post_attention_layernorm.weight', shape: [hidden] });
  addLinear('mlp.gate_proj', { out: intermediate, in: hidden, bias: config.mlpBias });
  addLinear('mlp.up_proj', { out: intermediate, in: hidden, bias: config.mlpBias });
  addLinear('mlp.down_proj', { out: hidden, in: intermediate, bias: config.mlpBias });
  return parts;
}
