// Language models inside wrappers and under other names: both engines give the bytes of the bare model, and the fingerprint is its.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeSafetensors, type WritableTensor } from '../../../scripts/safetensors-writer.ts';
import { listModelConfigValues } from '../../../src/engine/native/model-config.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { findLibrary } from '../../../src/native/library.ts';
import { openModel } from '../../../src/native/model.ts';
import { writeRandomModel } from '../../reference/random-model.ts';
import { writeFolder } from '../model/model-fixture.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-wrappers-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const TOKENS = Array.from({ length: 23 }, (_, index) => (7 * index + 3) % 40);
const VISION: WritableTensor[] = [
  'vision_tower.transformer.layers.0.attention.q_proj.weight',
  'model.visual.blocks.0.norm1.weight',
  'multi_modal_projector.linear_1.weight',
].map((name) => ({ name, dtype: 'F32', shape: [2, 3], values: Float32Array.from([1, 2, 3, 4, 5, 6]) }));

interface Bare {
  readonly json: Record<string, unknown>;
  readonly tensors: readonly WritableTensor[];
  readonly fingerprint: string;
  readonly logits: Logits;
}

/** Of all positions by the native library, of the last one by tfjs ops. */
interface Logits {
  readonly native: Float32Array | null;
  readonly tensorflow: Float32Array;
}

async function compute(path: string): Promise<Logits & { fingerprint: string }> {
  const folder = openModelFolder(path);
  let native: Float32Array | null = null;
  if (findLibrary().path !== null) {
    const model = await openModel(listModelConfigValues(folder.config), folder.weights!.files);
    const positions = Int32Array.from(TOKENS.keys());
    const options = { gates: null, windows: null, sinkTokens: 0 };
    native = await model.logits({ tokens: Int32Array.from(TOKENS), positions, ...options });
    model.close();
  }
  const engine = await openTensorflowEngine(folder, { backend: 'cpu' });
  const session = await engine.openSession('full', { maxTokens: TOKENS.length });
  const tensorflow = Float32Array.from(await session.prefill(TOKENS));
  await session.close();
  await engine.close();
  folder.close();
  return { native, tensorflow, fingerprint: folder.fingerprint! };
}

async function makeBare(name: string, overrides: Record<string, unknown>): Promise<Bare> {
  const path = join(scratch, name);
  writeRandomModel(path, { seed: 5, overrides });
  const weights = openModelFolder(path).weights!;
  const json = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as Record<string, unknown>;
  const tensors = weights.shards[0]!.tensors.map(({ name: tensor, shape }) => ({
    name: tensor,
    shape,
    dtype: 'F32' as const,
    values: weights.readF32(tensor),
  }));
  weights.close();
  const { fingerprint, ...logits } = await compute(path);
  return { json, tensors, fingerprint, logits };
}

/** A name of the bare model under transformers 5's wrapper layout, or with `prefix` before `model.` and before the head. */
const wrapped = (name: string): string => name.replace(/^model\./, 'model.language_model.');
const prefixed = (prefix: string) => (name: string) => `${prefix}${name}`;
const stripped = (name: string): string => name.replace(/^model\./, '');

let count = 0;
async function expectSame(
  bare: Bare,
  options: { json: Record<string, unknown>; rename: (name: string) => string },
): Promise<void> {
  const tensors = [...VISION, ...bare.tensors.map((tensor) => ({ ...tensor, name: options.rename(tensor.name) }))];
  const path = writeFolder(join(scratch, `w${count++}`), {
    'config.json': options.json,
    'model.safetensors': encodeSafetensors(tensors),
  });
  const { fingerprint, ...logits } = await compute(path);
  expect(logits).toEqual(bare.logits);
  expect(fingerprint).toBe(bare.fingerprint);
}

/** `text_config` of a bare config.json, as transformers nests it. */
function nest(bare: Bare, changes: Record<string, unknown> = {}): Record<string, unknown> {
  const { architectures, tie_word_embeddings, ...text } = bare.json;
  return { ...text, ...changes };
}

let qwen3: Bare;
let tied: Bare;
let mistral: Bare;
let llama: Bare;
beforeAll(async () => {
  const asQwen3 = { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], rope_theta: 5e6 };
  qwen3 = await makeBare('qwen3', asQwen3);
  tied = await makeBare('tied', { ...asQwen3, tie_word_embeddings: true });
  const asMistral = { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: null };
  mistral = await makeBare('mistral', asMistral);
  llama = await makeBare('llama', {});
});

describe('a language model in a wrapper equals the bare one', () => {
  const vl = (text: object, outer: object = {}) => ({
    architectures: ['Qwen3VLForConditionalGeneration'],
    model_type: 'qwen3_vl',
    text_config: text,
    vision_config: { model_type: 'qwen3_vl', hidden_size: 8 },
    ...outer,
  });
  const mrope = {
    model_type: 'qwen3_vl_text',
    rope_scaling: { mrope_interleaved: true, mrope_section: [2, 1, 1], rope_type: 'default' },
  };

  it('Qwen3-VL, untied and tied', async () => {
    await expectSame(qwen3, { json: vl(nest(qwen3, mrope), { tie_word_embeddings: false }), rename: wrapped });
    await expectSame(tied, { json: vl(nest(tied, mrope), { tie_word_embeddings: true }), rename: wrapped });
    await expectSame(tied, { json: vl(nest(tied, { ...mrope, tie_word_embeddings: true })), rename: wrapped });
  });

  it('Mistral-Small-3.x as published and as transformers 5 saves it, which ties by default', async () => {
    const json = {
      architectures: ['Mistral3ForConditionalGeneration'],
      model_type: 'mistral3',
      text_config: nest(mistral),
    };
    await expectSame(mistral, { json, rename: prefixed('language_model.') });
    await expectSame(mistral, { json: { ...json, tie_word_embeddings: true }, rename: wrapped });
  });

  it('LLaVA and Pixtral, whose text_config leaves defaults out', async () => {
    const json = { architectures: ['LlavaForConditionalGeneration'], model_type: 'llava', text_config: nest(mistral) };
    await expectSame(mistral, { json, rename: prefixed('language_model.') });
    const { model_type, hidden_act, ...text } = nest(llama);
    expect([model_type, hidden_act]).toEqual(['llama', 'silu']);
    await expectSame(llama, { json: { ...json, text_config: text }, rename: wrapped });
    const next = { architectures: ['LlavaNextForConditionalGeneration'], model_type: 'llava_next' };
    await expectSame(mistral, { json: { ...json, ...next }, rename: prefixed('language_model.') });
  });
});

describe('a bare model under other names equals itself', () => {
  it.each([
    ['_orig_mod.', prefixed('_orig_mod.')],
    ['base_model.model.', prefixed('base_model.model.')],
    ['module.', prefixed('module.')],
    ['model.', prefixed('model.')],
    ['no prefix', stripped],
    ['a head inside', (name: string) => (name === 'lm_head.weight' ? 'model.lm_head.weight' : name)],
  ])('%s', async (_, rename) => {
    await expectSame(llama, { json: llama.json, rename });
  });

  it('saved as LlamaModel, tied', async () => {
    const json = { ...tied.json, architectures: ['Qwen3Model'] };
    await expectSame(tied, { json, rename: stripped });
  });
});

describe('wrappers are refused', () => {
  it('where two tensors are one', () => {
    const twice = [...llama.tensors, { ...llama.tensors[0]!, name: 'language_model.model.embed_tokens.weight' }];
    const path = writeFolder(join(scratch, 'twice'), {
      'config.json': llama.json,
      'model.safetensors': encodeSafetensors(twice),
    });
    const file = join(path, 'model.safetensors');
    expect(() => openModelFolder(path)).toThrow(
      `Expected one language model in the weights, got both \`model.embed_tokens.weight\` of ${file} and \`language_model.model.embed_tokens.weight\` of ${file}; remove the one that is not to be used.`,
    );
  });
});
