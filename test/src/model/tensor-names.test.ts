import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../../src/model/config.ts';
import { findPlainName, listExpectedTensors } from '../../../src/model/tensor-names.ts';
import { makeConfigJson } from './model-fixture.ts';

const list = (changes: Record<string, unknown> = {}) =>
  listExpectedTensors(parseModelConfig(makeConfigJson({ num_hidden_layers: 1, ...changes }), 'c')).map(
    ({ name, shape }) => `${name} ${shape.join('x')}`,
  );

const LLAMA = [
  'model.embed_tokens.weight 11x6',
  'model.layers.0.input_layernorm.weight 6',
  'model.layers.0.self_attn.q_proj.weight 16x6',
  'model.layers.0.self_attn.k_proj.weight 8x6',
  'model.layers.0.self_attn.v_proj.weight 8x6',
  'model.layers.0.self_attn.o_proj.weight 6x16',
  'model.layers.0.post_attention_layernorm.weight 6',
  'model.layers.0.mlp.gate_proj.weight 10x6',
  'model.layers.0.mlp.up_proj.weight 10x6',
  'model.layers.0.mlp.down_proj.weight 6x10',
  'model.norm.weight 6',
  'lm_head.weight 11x6',
];
const inLayer = (part: string): string => `model.layers.0.${part}`;
const extra = (changes: Record<string, unknown>): string[] => list(changes).filter((line) => !LLAMA.includes(line));

describe('listExpectedTensors', () => {
  it('lists a Llama in the order of the computation', () => {
    expect(list()).toEqual(LLAMA);
  });

  it('leaves lm_head out where embeddings are tied', () => {
    expect(list({ tie_word_embeddings: true })).toEqual(LLAMA.slice(0, -1));
  });

  it('adds the biases and norms of each architecture', () => {
    const qkv = ['self_attn.q_proj.bias 16', 'self_attn.k_proj.bias 8', 'self_attn.v_proj.bias 8'].map(inLayer);
    expect(extra({ model_type: 'qwen2', architectures: undefined })).toEqual(qkv);
    expect(extra({ model_type: 'qwen3', architectures: undefined })).toEqual(
      ['self_attn.q_norm.weight 4', 'self_attn.k_norm.weight 4'].map(inLayer),
    );
    expect(extra({ attention_bias: true })).toEqual([...qkv, inLayer('self_attn.o_proj.bias 6')]);
    expect(extra({ mlp_bias: true })).toEqual(
      ['mlp.gate_proj.bias 10', 'mlp.up_proj.bias 10', 'mlp.down_proj.bias 6'].map(inLayer),
    );
  });

  it('repeats the layer for each layer', () => {
    expect(list({ num_hidden_layers: 3 }).length).toBe(3 + 3 * 9);
  });
});

describe('findPlainName', () => {
  it.each([
    ['model.embed_tokens.weight', 'model.embed_tokens.weight'],
    ['embed_tokens.weight', 'model.embed_tokens.weight'],
    ['norm.weight', 'model.norm.weight'],
    ['layers.11.mlp.up_proj.weight', 'model.layers.11.mlp.up_proj.weight'],
    ['model.language_model.layers.0.self_attn.q_norm.weight', 'model.layers.0.self_attn.q_norm.weight'],
    ['language_model.model.layers.3.self_attn.k_proj.bias', 'model.layers.3.self_attn.k_proj.bias'],
    ['language_model.norm.weight', 'model.norm.weight'],
    ['_orig_mod.model.layers.0._orig_mod.mlp.down_proj.weight', 'model.layers.0.mlp.down_proj.weight'],
    ['base_model.model.model.layers.0.input_layernorm.weight', 'model.layers.0.input_layernorm.weight'],
    ['_orig_mod.base_model.model.lm_head.weight', 'lm_head.weight'],
    ['module.model.layers.0.mlp.gate_proj.weight', 'model.layers.0.mlp.gate_proj.weight'],
    ['module.base_model.model.model.norm.weight', 'model.norm.weight'],
    ['model.model.layers.0.self_attn.o_proj.weight', 'model.layers.0.self_attn.o_proj.weight'],
    ['lm_head.weight', 'lm_head.weight'],
    ['language_model.lm_head.weight', 'lm_head.weight'],
    ['model.lm_head.weight', 'lm_head.weight'],
    ['model.language_model.lm_head.weight', 'lm_head.weight'],
    ['vision_tower.transformer.layers.0.attention.q_proj.weight', null],
    ['model.visual.blocks.0.norm1.weight', null],
    ['vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight', null],
    ['multi_modal_projector.norm.weight', null],
    ['mtp.layers.0.mlp.up_proj.weight', null],
    ['model.layers.x.mlp.up_proj.weight', null],
    ['model.layers..mlp.up_proj.weight', null],
    ['model.layers.0.mlp.experts.0.up_proj.weight', null],
    ['model.layers.0.self_attn.rotary_emb.inv_freq', null],
    ['base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight', null],
  ])('%s', (stored, plain) => {
    expect(findPlainName(stored)).toBe(plain);
  });
});
