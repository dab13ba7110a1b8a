// Writes a trained model as a Hugging Face folder: config.json, BF16 safetensors, tokenizer files, generation_config.json.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { stableJson, writeFileAtomic } from '../src/formats/atomic-file.ts';
import { parseModelConfig } from '../src/model/config.ts';
import { listExpectedTensors } from '../src/model/tensor-names.ts';
import type { Recipe } from './demo-recipes.ts';
import { BOS_ID, buildTokenizerJson, EOS_ID, PAD_ID, TOKENIZER_CONFIG } from './demo-tokenizer.ts';
import { writeSafetensors } from './safetensors-writer.ts';

const NORM_EPSILON = 1e-5;

/** config.json of a recipe, in the spelling of transformers 4. */
export function makeModelConfig(recipe: Recipe, vocab: number): Record<string, unknown> {
  const { layers, hidden, intermediate, heads, kvHeads, headDim } = recipe.shape;
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocab,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    hidden_act: 'silu',
    rms_norm_eps: NORM_EPSILON,
    rope_theta: recipe.ropeTheta,
    rope_scaling: null,
    max_position_embeddings: recipe.maxPositions,
    tie_word_embeddings: false,
    attention_bias: false,
    mlp_bias: false,
    attention_dropout: 0,
    bos_token_id: BOS_ID,
    eos_token_id: EOS_ID,
    pad_token_id: PAD_ID,
    initializer_range: 0.02,
    use_cache: true,
    torch_dtype: 'bfloat16',
  };
}

/** Tensor names in the order of the pretrainer's flat weights (kernels/pretrain/model.cpp, list_tensors). */
export function listTrainedNames(layers: number): string[] {
  const parts = [
    'input_layernorm',
    'self_attn.q_proj',
    'self_attn.k_proj',
    'self_attn.v_proj',
    'self_attn.o_proj',
    'post_attention_layernorm',
    'mlp.gate_proj',
    'mlp.up_proj',
    'mlp.down_proj',
  ];
  const ofLayers = Array.from({ length: layers }, (_, layer) =>
    parts.map((part) => `model.layers.${layer}.${part}.weight`),
  );
  return ['model.embed_tokens.weight', ...ofLayers.flat(), 'model.norm.weight', 'lm_head.weight'];
}

/** Write the tokenizer alone: data-gen needs it before there are weights. */
export function writeTokenizerFiles(folder: string, maxPositions: number): void {
  mkdirSync(folder, { recursive: true });
  writeFileAtomic(join(folder, 'tokenizer.json'), `${JSON.stringify(buildTokenizerJson(), null, 1)}\n`);
  writeFileAtomic(
    join(folder, 'tokenizer_config.json'),
    stableJson({ ...TOKENIZER_CONFIG, model_max_length: maxPositions }),
  );
}

/** Write the model files. @param options.weights flat float32 in the pretrainer's order; rounded to BF16 in the file. */
export function writeModelFiles(options: {
  folder: string;
  recipe: Recipe;
  vocab: number;
  weights: Float32Array;
}): void {
  const { folder, recipe, vocab, weights } = options;
  const json = makeModelConfig(recipe, vocab);
  const shapes = new Map(
    listExpectedTensors(parseModelConfig(json, 'config.json')).map(({ name, shape }) => [name, shape]),
  );
  let offset = 0;
  const tensors = listTrainedNames(recipe.shape.layers).map((name) => {
    const shape = shapes.get(name)!;
    const size = shape.reduce((product, count) => product * count, 1);
    const values = weights.slice(offset, offset + size);
    offset += size;
    return { name, dtype: 'BF16' as const, shape, values };
  });
  if (offset !== weights.length) throw new RangeError(`Expected ${offset} trained weights, got ${weights.length}`);
  writeFileAtomic(join(folder, 'config.json'), stableJson(json));
  writeFileAtomic(
    join(folder, 'generation_config.json'),
    stableJson({ bos_token_id: BOS_ID, eos_token_id: EOS_ID, pad_token_id: PAD_ID, do_sample: false }),
  );
  writeSafetensors(join(folder, 'model.safetensors'), { tensors, metadata: { format: 'pt' } });
}
