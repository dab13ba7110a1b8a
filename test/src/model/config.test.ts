import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FormatError, ModelError } from '../../../src/errors/errors.ts';
import { parseModelConfig } from '../../../src/model/config.ts';
import { makeConfigJson } from './model-fixture.ts';

const parse = (changes: Record<string, unknown> = {}) => parseModelConfig(makeConfigJson(changes), '/m/config.json');
const asArchitecture = (type: string, changes: Record<string, unknown> = {}) =>
  parse({ model_type: type, architectures: undefined, sliding_window: null, ...changes });

describe('parseModelConfig', () => {
  it('reads every field of a Llama', () => {
    expect(parse()).toEqual({
      shape: {
        architecture: 'llama',
        layers: 2,
        heads: 4,
        kvHeads: 2,
        headDim: 4,
        hidden: 6,
        intermediate: 10,
        vocab: 11,
        maxPositions: 512,
      },
      rmsNormEps: 1e-5,
      ropeTheta: 10000,
      ropeScaling: { type: 'none' },
      tiedEmbeddings: false,
      qkvBias: false,
      outputBias: false,
      mlpBias: false,
      qkNorm: false,
      bosTokenId: 1,
      eosTokenIds: [2],
      notes: [],
    });
  });

  it.each(['mha-2l', 'gqa-4l-d192'])('reads the config of the golden model %s', (name) => {
    const path = new URL(`../../golden/${name}/config.json`, import.meta.url);
    const { shape } = parseModelConfig(JSON.parse(readFileSync(path, 'utf8')), 'config.json');
    expect([shape.headDim, shape.vocab, shape.maxPositions]).toEqual([32, 256, 4096]);
  });

  it.each([
    [{ rope_theta: 5e5, rope_scaling: null }, { rope_parameters: { rope_type: 'default', rope_theta: 5e5 } }],
    [
      { rope_theta: 1e4, rope_scaling: { type: 'linear', factor: 8 } },
      { rope_parameters: { rope_type: 'linear', factor: 8.0, rope_theta: 1e4 } },
    ],
    [
      {
        rope_theta: 5e5,
        max_position_embeddings: 131072,
        rope_scaling: {
          rope_type: 'llama3',
          factor: 8,
          low_freq_factor: 1,
          high_freq_factor: 4,
          original_max_position_embeddings: 8192,
        },
      },
      {
        max_position_embeddings: 131072,
        rope_parameters: {
          rope_type: 'llama3',
          rope_theta: 5e5,
          factor: 8,
          low_freq_factor: 1,
          high_freq_factor: 4,
          original_max_position_embeddings: 8192,
        },
      },
    ],
    [
      { rope_theta: 1e6, rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 512 } },
      { rope_parameters: { type: 'yarn', rope_theta: 1e6, factor: 4, original_max_position_embeddings: 512 } },
    ],
  ])('transformers 4 and 5 spellings give equal configs (%#)', (four, five) => {
    const old = parse(four);
    expect(parse({ rope_theta: undefined, torch_dtype: undefined, dtype: 'float32', ...five })).toEqual(old);
    expect(old.ropeTheta).toBe(four.rope_theta);
  });

  it('takes the defaults of transformers where fields are absent', () => {
    const config = parse({
      num_key_value_heads: undefined,
      head_dim: null,
      hidden_size: 24,
      rms_norm_eps: undefined,
      rope_theta: undefined,
      max_position_embeddings: undefined,
      hidden_act: undefined,
      bos_token_id: undefined,
      eos_token_id: null,
    });
    expect(config.shape).toMatchObject({ kvHeads: 4, headDim: 6, maxPositions: 2048 });
    expect(config).toMatchObject({ rmsNormEps: 1e-6, ropeTheta: 10000, bosTokenId: null, eosTokenIds: [] });
  });

  it('takes the key-value heads and the head size of each class where they are absent, not where they are null', () => {
    const sizes = (type: string, changes: object = {}) => {
      const absent = { num_attention_heads: 64, num_key_value_heads: undefined, head_dim: undefined, hidden_size: 128 };
      const { shape } = asArchitecture(type, { ...absent, ...changes });
      return [shape.kvHeads, shape.headDim, shape.maxPositions];
    };
    expect(sizes('llama')).toEqual([64, 2, 512]);
    expect(sizes('mistral')).toEqual([8, 2, 512]);
    expect(sizes('qwen2')).toEqual([32, 2, 512]);
    expect(sizes('qwen3')).toEqual([32, 128, 512]);
    expect(sizes('qwen3', { num_key_value_heads: null, head_dim: null })).toEqual([64, 2, 512]);
  });

  it('knows the biases and norms of each architecture', () => {
    const facts = (type: string, changes = {}) => {
      const { qkvBias, outputBias, mlpBias, qkNorm } = asArchitecture(type, changes);
      return [qkvBias, outputBias, mlpBias, qkNorm];
    };
    expect(facts('llama', { attention_bias: true, mlp_bias: true })).toEqual([true, true, true, false]);
    expect(facts('mistral')).toEqual([false, false, false, false]);
    expect(facts('qwen2')).toEqual([true, false, false, false]);
    expect(facts('qwen3')).toEqual([false, false, false, true]);
    expect(facts('qwen3', { attention_bias: true })).toEqual([true, true, false, true]);
  });

  it('names the architecture from `architectures` where `model_type` is absent', () => {
    expect(parse({ model_type: undefined, architectures: ['Qwen3ForCausalLM'] }).shape.architecture).toBe('qwen3');
  });

  it('reads several end tokens and tied embeddings', () => {
    const config = parse({ eos_token_id: [128001, 128009], tie_word_embeddings: true });
    expect(config).toMatchObject({ eosTokenIds: [128001, 128009], tiedEmbeddings: true });
  });

  it('takes a token id of -1 for none and says so', () => {
    const note = (name: string): string => `\`${name}\` of /m/config.json holds -1, which duo reads as no token`;
    expect(parse({ bos_token_id: -1, eos_token_id: [7, -1] })).toMatchObject({
      bosTokenId: null,
      eosTokenIds: [7],
      notes: [note('bos_token_id'), note('eos_token_id')],
    });
    expect(parse({ eos_token_id: -1 })).toMatchObject({ eosTokenIds: [], notes: [note('eos_token_id')] });
  });

  it('takes swish for silu and a head_dim of 0 for absent', () => {
    expect(parse({ hidden_act: 'swish' })).toEqual(parse());
    expect(parse({ head_dim: 0, hidden_size: 24 })).toEqual(parse({ head_dim: undefined, hidden_size: 24 }));
    expect(parse({ head_dim: 0, hidden_size: 24 }).shape.headDim).toBe(6);
  });

  it.each([
    [{ type: 'dynamic', factor: 4 }, 2048],
    [{ type: 'yarn', factor: 4, original_max_position_embeddings: 256 }, 1024],
    [{ type: 'linear', factor: 8 }, 512],
    [null, 512],
  ])('positions reached with scaling %j are %i', (scaling, positions) => {
    expect(parse({ rope_scaling: scaling }).shape.maxPositions).toBe(positions);
  });

  it('resolves the attention factor and optional fields of yarn', () => {
    const yarn = (fields: object) => parse({ rope_scaling: { rope_type: 'yarn', factor: 4, ...fields } }).ropeScaling;
    expect(yarn({})).toEqual({
      type: 'yarn',
      factor: 4,
      originalMaxPositions: 512,
      betaFast: 32,
      betaSlow: 1,
      attentionFactor: 0.1 * Math.log(4) + 1,
      truncate: true,
    });
    expect(yarn({ attention_factor: 1.5, truncate: false })).toMatchObject({ attentionFactor: 1.5, truncate: false });
    expect(yarn({ mscale: 1, mscale_all_dim: 1 })).toMatchObject({ attentionFactor: 1 });
    expect(yarn({ mscale: 0, mscale_all_dim: 1 })).toMatchObject({ attentionFactor: 0.1 * Math.log(4) + 1 });
    expect(yarn({ factor: 1 })).toMatchObject({ attentionFactor: 1 });
    expect(yarn({ factor: null, original_max_position_embeddings: 128 })).toMatchObject({ factor: 4 });
  });

  it('multiplies the attention factor of yarn by `attn_factor`', () => {
    const scale = (fields: object): number => {
      const { ropeScaling } = parse({ rope_scaling: { rope_type: 'yarn', factor: 4, attn_factor: 0.5, ...fields } });
      return ropeScaling.type === 'yarn' ? ropeScaling.attentionFactor : Number.NaN;
    };
    // DeepSeek-R1-0528-Qwen3-8B: 1/(0.1·ln 4 + 1), so that nothing is scaled.
    expect(scale({ attn_factor: 0.8782488562869419 })).toBeCloseTo(1, 14);
    expect(scale({})).toBeCloseTo(0.569314718, 9);
    expect(scale({ attention_factor: 1.5 })).toBe(0.75);
    expect(scale({ mscale: 1, mscale_all_dim: 1 })).toBe(0.5);
    expect(() => scale({ attn_factor: 0 })).toThrow(
      'Expected `attn_factor` of `rope_scaling` of /m/config.json to be a number greater than 0, got `0`.',
    );
  });

  it('names the keys of a rope block that it ignores', () => {
    const yarn = { rope_type: 'yarn', factor: 4, beta_fast: 32, attn_factor: 1, truncate: true, mscale: 1 };
    const note = (place: string, names: string): string =>
      `\`${place}\` of /m/config.json holds ${names}, which duo ignores; check that the model was made without, or remove what has no meaning`;
    expect(parse({ rope_scaling: yarn }).notes).toEqual([]);
    expect(parse({ rope_scaling: { ...yarn, finetuned: true, alpha: 1000, gamma: null } }).notes).toEqual([
      note('rope_scaling', '`finetuned`, `alpha`'),
    ]);
    expect(parse({ rope_parameters: { rope_theta: 1e4, llama_4_scaling_beta: 0.1 } }).notes).toEqual([
      note('rope_parameters', '`llama_4_scaling_beta`'),
    ]);
    expect(parse({ rope_scaling: { type: 'linear', factor: 1, attn_factor: 2, 'a\nb': 1 } }).notes).toEqual([
      note('rope_scaling', '`attn_factor`, `a\\nb`'),
    ]);
  });

  it('takes the one scaling of `rope_scaling` and `rope_parameters`, with the theta of the latter', () => {
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 512 };
    const plain = { rope_type: 'default', rope_theta: 1e6 };
    const alone = parse({ rope_theta: 1e6, rope_scaling: yarn });
    expect(alone.ropeScaling.type).toBe('yarn');
    const both = { rope_theta: undefined, rope_parameters: plain, rope_scaling: yarn };
    expect(parse(both)).toEqual(alone);
    expect(parse({ ...both, rope_theta: 5e5 }).ropeTheta).toBe(1e6);
    expect(parse({ ...both, rope_theta: 5e5, rope_parameters: {} }).ropeTheta).toBe(5e5);
    const turned = { rope_parameters: { ...yarn, rope_theta: 1e6 }, rope_scaling: { type: 'default' } };
    expect(parse({ ...both, ...turned })).toEqual(alone);
    expect(parse({ ...both, rope_scaling: null }).ropeScaling).toEqual({ type: 'none' });
  });

  it('reads the language model of a wrapper', () => {
    const { model_type, architectures, ...text } = makeConfigJson({ sliding_window: null, tie_word_embeddings: true });
    const wrap = (type: string, name: string, outer: object = {}) =>
      parseModelConfig(
        { model_type: type, architectures: [`${name}ForConditionalGeneration`], text_config: text, ...outer },
        '/m/config.json',
      );
    const note = (type: string): string =>
      `/m/config.json is of ${type}: duo computes its language model and reads no images`;
    const tied = { tie_word_embeddings: true };
    expect(wrap('llava', 'Llava')).toEqual({ ...parse(tied), notes: [note('llava')] });
    const asMistral = { ...asArchitecture('mistral', tied), notes: [note('mistral3')] };
    expect(wrap('mistral3', 'Mistral3')).toEqual(asMistral);
    expect(wrap('mistral3', 'Mistral3', { architectures: undefined })).toEqual(asMistral);
    expect(wrap('qwen3_vl', 'Qwen3VL').shape).toEqual(asArchitecture('qwen3').shape);
    expect(wrap('llava_onevision', 'LlavaOnevision').qkvBias).toBe(true);
    const ids = { eos_token_id: [7], bos_token_id: 9 };
    expect(wrap('llava', 'Llava', ids)).toMatchObject({ eosTokenIds: [2], bosTokenId: 1 });
    const { eos_token_id, ...without } = text;
    expect(wrap('llava', 'Llava', { ...ids, text_config: without })).toMatchObject({ eosTokenIds: [7], bosTokenId: 1 });
  });

  it.each([
    [
      { model_type: 'qwen2_vl', architectures: ['Qwen2VLForConditionalGeneration'], vision_config: {} },
      'use Qwen3-VL, whose language model duo computes',
    ],
    [
      { model_type: 'qwen2_5_vl', architectures: ['Qwen2_5_VLForConditionalGeneration'] },
      'use Qwen3-VL, whose language model duo computes',
    ],
    [
      { model_type: 'llava_llama', architectures: ['LlavaLlamaForCausalLM'], mm_vision_tower: 'openai/clip' },
      "use its copy in transformers' own form",
    ],
    [{ model_type: 'llava', architectures: ['LlavaLlamaForCausalLM'] }, "use its copy in transformers' own form"],
    [
      { model_type: 'llama', architectures: ['LlamaForCausalLM'], mm_vision_tower: 'openai/clip' },
      'use the language model that it was made from',
    ],
  ])('refuses a wrapper that has all fields side by side: %j', (fields, cure) => {
    const json = { hidden_size: 64, num_attention_heads: 4, num_hidden_layers: 2, vocab_size: 100, ...fields };
    expect(() => parseModelConfig(json, '/m/config.json')).toThrow(
      `Expected /m/config.json, which is of a model that reads images, to hold its language model as \`text_config\`, got \`"${fields.model_type}"\` with all fields side by side: duo computes no wrapper of that form; ${cure}`,
    );
  });

  it('takes the defaults of transformers where a `text_config` leaves fields out', () => {
    const of = (json: object) => parseModelConfig({ text_config: {}, ...json }, 'c');
    const llava = of({ model_type: 'llava' });
    expect(llava.shape).toEqual({
      architecture: 'llama',
      layers: 32,
      heads: 32,
      kvHeads: 32,
      headDim: 128,
      hidden: 4096,
      intermediate: 11_008,
      vocab: 32_000,
      maxPositions: 2048,
    });
    expect(llava).toMatchObject({ ropeTheta: 10_000, tiedEmbeddings: false });
    const vl = of({ model_type: 'qwen3_vl' });
    expect(vl.shape).toMatchObject({ architecture: 'qwen3', headDim: 128, intermediate: 22_016, vocab: 151_936 });
    expect([vl.ropeTheta, vl.shape.maxPositions, vl.shape.kvHeads]).toEqual([500_000, 128_000, 32]);
    const pixtral = of({ model_type: 'llava', text_config: { model_type: 'mistral', sliding_window: null } });
    expect(pixtral.shape).toMatchObject({ kvHeads: 8, intermediate: 14_336, vocab: 32_000, maxPositions: 131_072 });
  });

  it('ties a Mistral 3 wrapper that does not say otherwise where its weights hold no head', () => {
    const tie = (storesHead: boolean | undefined, outer: object = {}, text: object = {}): boolean =>
      parseModelConfig(
        {
          model_type: 'mistral3',
          ...outer,
          text_config: {
            ...makeConfigJson(),
            model_type: 'mistral',
            sliding_window: null,
            architectures: undefined,
            ...text,
          },
        },
        'c',
        storesHead === undefined ? {} : { storesHead },
      ).tiedEmbeddings;
    expect([tie(true), tie(undefined), tie(false)]).toEqual([false, false, true]);
    expect(tie(true, { tie_word_embeddings: true })).toBe(false);
    expect(tie(false, { tie_word_embeddings: false })).toBe(false);
    expect(tie(true, {}, { tie_word_embeddings: true })).toBe(true);
  });

  it.each([
    ['mistral', { sliding_window: 512 }],
    ['mistral', { sliding_window: null }],
    ['qwen2', { sliding_window: 4, use_sliding_window: false, max_window_layers: 1 }],
    ['qwen3', { sliding_window: 4 }],
    ['qwen2', { use_sliding_window: true, sliding_window: null }],
    ['qwen3', { layer_types: ['full_attention', 'full_attention'] }],
    ['qwen2', { use_sliding_window: true, sliding_window: 4, max_window_layers: 2 }],
    ['qwen3', { use_sliding_window: true, sliding_window: 4, layer_types: ['full_attention', 'full_attention'] }],
    ['qwen2', { use_sliding_window: true, max_window_layers: 0, max_position_embeddings: 4096 }],
    ['qwen2', { use_sliding_window: true, sliding_window: 4 }],
    ['llama', { sliding_window: 4 }],
  ])('%s with a sliding window %j that never binds is read as without', (type, changes) => {
    const { max_position_embeddings = 512 } = changes as { max_position_embeddings?: number };
    const config = asArchitecture(type, changes);
    expect(config).toEqual(asArchitecture(type, { max_position_embeddings }));
    expect(config.shape.maxPositions).toBe(max_position_embeddings);
  });

  it.each([
    ['mistral', { sliding_window: 128 }, '`sliding_window` of /m/config.json is 128', 'set it to null', 128],
    [
      'mistral',
      { sliding_window: undefined, max_position_embeddings: 32_768 },
      'an absent `sliding_window` of /m/config.json means 4096',
      'set it to null',
      4096,
    ],
    [
      'qwen2',
      { use_sliding_window: true, sliding_window: 100, max_window_layers: 1 },
      '`sliding_window` of /m/config.json is 100',
      'set `use_sliding_window` to false',
      100,
    ],
    [
      'qwen3',
      { use_sliding_window: true, sliding_window: 64, layer_types: ['full_attention', 'sliding_attention'] },
      '`sliding_window` of /m/config.json is 64',
      'set `use_sliding_window` to false',
      64,
    ],
  ])('%s with a sliding window %j ends where it would cut', (type, changes, found, cure, window) => {
    const config = asArchitecture(type, changes);
    const full = asArchitecture(type, {
      max_position_embeddings: (changes as Record<string, unknown>).max_position_embeddings ?? 512,
    });
    expect(config).toEqual({
      ...full,
      shape: { ...full.shape, maxPositions: window },
      fingerprintPositions: full.shape.maxPositions,
      notes: [
        `${found}: full attention, which is all that duo computes, is the same up to ${window} tokens, and texts end there; to go on to ${full.shape.maxPositions} with full attention, ${cure}`,
      ],
    });
  });

  it('takes the length that a file states for linear scaling, and names both where none does', () => {
    const linear = { rope_scaling: { type: 'linear', factor: 4 } };
    const read = (changes: object, textLength?: number) => {
      const json = makeConfigJson({ ...linear, ...changes });
      const config = parseModelConfig(json, '/m/config.json', textLength === undefined ? {} : { textLength });
      return [config.shape.maxPositions, config.fingerprintPositions, config.notes.length];
    };
    expect(read({ max_sequence_length: 2048 })).toEqual([2048, 512, 0]);
    expect(read({}, 2048)).toEqual([2048, 512, 0]);
    expect(read({ max_sequence_length: 1024 }, 2048)).toEqual([1024, 512, 0]);
    expect(read({}, 512)).toEqual([512, undefined, 0]);
    expect(read({}, 1e30)).toEqual([512, undefined, 1]);
    expect(read({ max_sequence_length: 4096 })).toEqual([512, undefined, 1]);
    expect(read({ rope_scaling: { type: 'linear', factor: 1 } })).toEqual([512, undefined, 0]);
    expect(read({ rope_scaling: null, max_sequence_length: 2048 }, 2048)).toEqual([512, undefined, 0]);
    expect(parse(linear).notes).toEqual([
      '/m/config.json declares 512 positions together with linear scaling by 4: texts end there; if that is the length before scaling, set `max_position_embeddings` to 2048, which changes nothing else',
    ]);
  });

  it('says where dual chunk attention would begin', () => {
    const note = (where: string): string =>
      `/m/config.json holds \`dual_chunk_attention_config\`, which duo ignores, as transformers does: ${where} the model was made to attend in chunks`;
    const dual = { chunk_size: 262_144, local_size: 8192, original_max_position_embeddings: 262_144 };
    expect(parse({ dual_chunk_attention_config: dual }).notes).toEqual([note('beyond 262144 tokens')]);
    expect(parse({ dual_chunk_attention_config: {} }).notes).toEqual([note('on long texts')]);
    expect(parse({ dual_chunk_attention_config: null }).notes).toEqual([]);
  });
});

const REFUSED: [object, typeof FormatError | typeof ModelError, string][] = [
  [
    { model_type: 'gemma2' },
    ModelError,
    'Expected `model_type` of /m/config.json to be one of llama (LlamaForCausalLM), mistral (MistralForCausalLM), qwen2 (Qwen2ForCausalLM), qwen3 (Qwen3ForCausalLM), got `"gemma2"`: duo does not compute this architecture; use another model.',
  ],
  [
    { model_type: undefined, architectures: ['GPT2LMHeadModel'] },
    ModelError,
    'Expected `model_type` of /m/config.json to be one of llama (LlamaForCausalLM), mistral (MistralForCausalLM), qwen2 (Qwen2ForCausalLM), qwen3 (Qwen3ForCausalLM), got `["GPT2LMHeadModel"]`: duo does not compute this architecture; use another model.',
  ],
  [
    { architectures: ['LlamaForSequenceClassification'] },
    ModelError,
    'Expected `architectures` of /m/config.json to name LlamaForCausalLM for `model_type` llama, got `["LlamaForSequenceClassification"]`: duo computes llama (LlamaForCausalLM), mistral (MistralForCausalLM), qwen2 (Qwen2ForCausalLM), qwen3 (Qwen3ForCausalLM); use another model.',
  ],
  [
    { model_type: 'gemma3', architectures: ['Gemma3ForConditionalGeneration'], text_config: {} },
    ModelError,
    'Expected /m/config.json, which holds a `text_config`, to be of qwen3_vl (Qwen3VLForConditionalGeneration), mistral3 (Mistral3ForConditionalGeneration), llava (LlavaForConditionalGeneration), llava_next (LlavaNextForConditionalGeneration), llava_onevision (LlavaOnevisionForConditionalGeneration), got `"gemma3"`: duo computes the language models of these wrappers only; use another model.',
  ],
  [
    { model_type: 'mistral3', architectures: undefined, text_config: { model_type: 'ministral3' } },
    ModelError,
    'Expected `model_type` of `text_config` of /m/config.json to be one of llama (LlamaForCausalLM), mistral (MistralForCausalLM), qwen2 (Qwen2ForCausalLM), qwen3 (Qwen3ForCausalLM), got `"ministral3"`: duo does not compute this architecture; use another model.',
  ],
  [
    { model_type: 'llava', architectures: undefined, text_config: {}, quantization_config: { quant_method: 'awq' } },
    ModelError,
    'Expected `text_config` of /m/config.json to describe F32, F16 or BF16 weights, got `quantization_config` (`"awq"`): duo reads no quantised weights; use the unquantised model folder.',
  ],
  [
    { quantization_config: { quant_method: 'gptq', bits: 4 } },
    ModelError,
    'Expected /m/config.json to describe F32, F16 or BF16 weights, got `quantization_config` (`"gptq"`): duo reads no quantised weights; use the unquantised model folder.',
  ],
  [
    { hidden_act: 'gelu' },
    ModelError,
    'Expected `hidden_act` of /m/config.json to be "silu", got `"gelu"`: duo computes no other activation; use another model.',
  ],
  [
    { is_causal: false },
    ModelError,
    'Expected `is_causal` of /m/config.json to be true or absent, got `false`: duo computes causal attention only; use a model that generates text.',
  ],
  [
    { rope_scaling: { type: 'longrope', factor: 4 } },
    ModelError,
    'Expected the rope type in `rope_scaling` of /m/config.json to be one of default, linear, dynamic, llama3, yarn, got `"longrope"`: duo does not compute it; use another model.',
  ],
  [
    { rope_parameters: { full_attention: { rope_theta: 1e6 }, sliding_attention: { rope_theta: 1e4 } } },
    ModelError,
    'Expected one set of rotary settings in `rope_parameters` of /m/config.json, got one for each layer type: duo turns all layers alike; use another model.',
  ],
  [
    { rope_parameters: { rope_type: 'linear', factor: 2 }, rope_scaling: { type: 'yarn', factor: 4 } },
    ModelError,
    'Expected one rope scaling in /m/config.json, got `"linear"` in `rope_parameters` and `"yarn"` in `rope_scaling`; remove the one that the model is not to be used with.',
  ],
  [
    { partial_rotary_factor: 0.5 },
    ModelError,
    'Expected `partial_rotary_factor` of /m/config.json to be 1 or absent, got `0.5`: duo rotates whole heads only; use another model.',
  ],
  [
    { model_type: 'mistral', architectures: undefined, sliding_window: 'wide' },
    FormatError,
    'Expected `sliding_window` of /m/config.json to be an integer from 1 to 1073741824, got `"wide"`.',
  ],
  [
    { model_type: 'qwen2', architectures: undefined, use_sliding_window: true, max_window_layers: 'all' },
    FormatError,
    'Expected `max_window_layers` of /m/config.json to be a number of layers, got `"all"`.',
  ],
  [
    { model_type: 'qwen2', architectures: undefined, layer_types: ['full_attention', 'sliding_attention'] },
    ModelError,
    'Expected every `layer_types` of /m/config.json to be "full_attention", got `"sliding_attention"`: duo computes full attention only; use a model without sliding windows, or turn them off there if the model tolerates it.',
  ],
  [
    { model_type: 'qwen3', architectures: undefined, use_sliding_window: true, layer_types: ['linear_attention'] },
    ModelError,
    'Expected every `layer_types` of /m/config.json to be "full_attention", got `"linear_attention"`: duo computes full attention only; use a model without sliding windows, or turn them off there if the model tolerates it.',
  ],
  [
    { layer_types: ['full_attention', 'sliding_attention'] },
    ModelError,
    'Expected every `layer_types` of /m/config.json to be "full_attention", got `"sliding_attention"`: duo computes full attention only; use a model without sliding windows, or turn them off there if the model tolerates it.',
  ],
  [
    { num_hidden_layers: -1 },
    FormatError,
    'Expected `num_hidden_layers` of /m/config.json to be an integer from 1 to 1024, got `-1`.',
  ],
  [
    { hidden_size: undefined },
    FormatError,
    'Expected `hidden_size` of /m/config.json to be an integer from 1 to 4194304, got nothing.',
  ],
  [
    { vocab_size: 1e30 },
    FormatError,
    'Expected `vocab_size` of /m/config.json to be an integer from 1 to 16777216, got `1e+30`.',
  ],
  [
    { num_key_value_heads: 3 },
    FormatError,
    'Expected `num_key_value_heads` of /m/config.json to be a divisor of `num_attention_heads` (4), got `3`.',
  ],
  [
    { head_dim: 5 },
    FormatError,
    'Expected the head size of /m/config.json to be even, because RoPE turns pairs, got 5.',
  ],
  [
    { head_dim: undefined, hidden_size: 7 },
    FormatError,
    'Expected `hidden_size` of /m/config.json to be a multiple of `num_attention_heads` (4) where `head_dim` is absent, got `7`.',
  ],
  [
    { head_dim: 2, rope_scaling: { type: 'dynamic', factor: 2 } },
    FormatError,
    'Expected the head size of /m/config.json to be at least 4 with dynamic rope scaling, got 2.',
  ],
  [
    { rms_norm_eps: 0 },
    FormatError,
    'Expected `rms_norm_eps` of /m/config.json to be a number greater than 0, got `0`.',
  ],
  [
    { rope_theta: '10000' },
    FormatError,
    'Expected `rope_theta` of /m/config.json to be a number greater than 0, got `"10000"`.',
  ],
  [{ rope_theta: 1 }, FormatError, 'Expected `rope_theta` of /m/config.json to be a number greater than 1, got `1`.'],
  [{ rope_scaling: [] }, FormatError, 'Expected `rope_scaling` of /m/config.json to be an object or null, got `[]`.'],
  [
    { rope_scaling: { type: 'linear' } },
    FormatError,
    'Expected `factor` of `rope_scaling` of /m/config.json to be a number greater than 0, got nothing.',
  ],
  [
    { rope_scaling: { type: 'linear', factor: 0.5 } },
    FormatError,
    'Expected `factor` of `rope_scaling` of /m/config.json to be a number of at least 1, got `0.5`.',
  ],
  [
    { rope_parameters: { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 1 } },
    FormatError,
    'Expected `high_freq_factor` of `rope_parameters` of /m/config.json to be greater than `low_freq_factor` (4), got `1`.',
  ],
  [
    { rope_scaling: { type: 'yarn', factor: 2, beta_fast: 1, beta_slow: 32 } },
    FormatError,
    'Expected `beta_fast` of `rope_scaling` of /m/config.json to be at least `beta_slow` (32), got `1`.',
  ],
  [
    { tie_word_embeddings: 'yes' },
    FormatError,
    'Expected `tie_word_embeddings` of /m/config.json to be true or false, got `"yes"`.',
  ],
  [
    { eos_token_id: [-2] },
    FormatError,
    'Expected `eos_token_id` of /m/config.json to be a token id or a list of token ids, got `[-2]`.',
  ],
];

describe('parseModelConfig refuses', () => {
  it.each(REFUSED)('%j', (changes, kind, message) => {
    let error: unknown;
    try {
      parse(changes as Record<string, unknown>);
    } catch (cause) {
      error = cause;
    }
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toBe(message);
  });

  it.each([[[]], ['text'], [null], [3]])('a document that is not an object: %j', (json) => {
    expect(() => parseModelConfig(json, 'c.json')).toThrow(
      `Expected c.json to hold a JSON object, got \`${JSON.stringify(json)}\`.`,
    );
  });
});
