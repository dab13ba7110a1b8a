import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeSafetensors, type WritableTensor } from '../../../scripts/safetensors-writer.ts';
import { FormatError, ModelError } from '../../../src/errors/errors.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { renderChat } from '../../../src/text/chat-template.ts';
import { openTokenizer } from '../../../src/text/tokenizer.ts';
import {
  makeConfigJson,
  makeModelFiles,
  makeRawFile,
  makeScratchFolder,
  makeShardedFiles,
  makeTensors,
  writeFolder,
} from './model-fixture.ts';

const scratch = makeScratchFolder();
let folders = 0;
const write = (files: Record<string, unknown>): string => writeFolder(join(scratch, `m${folders++}`), files);

function open(folder: string, options?: { weights?: 'required' | 'optional' }): ModelFolder {
  const model = openModelFolder(folder, options);
  model.close();
  return model;
}

/** A folder whose tensors are changed by `change`. */
function writeChanged(change: (tensors: WritableTensor[]) => WritableTensor[]): string {
  const json = makeConfigJson();
  return write({ 'config.json': json, 'model.safetensors': encodeSafetensors(change(makeTensors(json))) });
}

function expectError(folder: string, error: Error): void {
  let found: unknown;
  try {
    open(folder);
  } catch (cause) {
    found = cause;
  }
  expect(found).toBeInstanceOf(error.constructor);
  expect((found as Error).message).toBe(error.message);
}

describe('openModelFolder', () => {
  it('opens a folder and names it by its last part', () => {
    const folder = write(makeModelFiles());
    const model = openModelFolder(`${folder}/`);
    expect(model.name).toBe(folder.slice(scratch.length + 1));
    expect(model.config.shape.layers).toBe(2);
    expect(model.weights!.readF32('lm_head.weight').length).toBe(66);
    expect(model.fingerprint).toMatch(/^sha256:[0-9a-f]{64}$/);
    model.close();
    model.close();
  });

  it.each(['mha-2l', 'gqa-4l-d192'])('opens the golden model %s', (name) => {
    const model = open(new URL(`../../golden/${name}`, import.meta.url).pathname);
    expect(model.name).toBe(name);
    expect(model.config.shape.headDim).toBe(32);
  });

  it.each([
    { model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] },
    { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'] },
    { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: null },
    { attention_bias: true, mlp_bias: true },
    { tie_word_embeddings: true },
    { num_key_value_heads: undefined },
  ])('opens a complete folder of %j', (changes) => {
    expect(open(write(makeModelFiles(changes))).weights).not.toBeNull();
  });

  it('takes more end tokens from generation_config.json', () => {
    const folder = write({ ...makeModelFiles(), 'generation_config.json': { eos_token_id: [9, 2, 10] } });
    expect(open(folder).config.eosTokenIds).toEqual([2, 9, 10]);
  });

  it('takes the longest text of linear scaling from tokenizer_config.json and keeps the fingerprint', () => {
    const files = makeModelFiles({ rope_scaling: { type: 'linear', factor: 4 } });
    const alone = open(write(files));
    const stated = open(write({ ...files, 'tokenizer_config.json': { model_max_length: 1536 } }));
    expect([alone.config.shape.maxPositions, stated.config.shape.maxPositions]).toEqual([512, 1536]);
    expect(stated.fingerprint).toBe(alone.fingerprint);
    expect(stated.olderFingerprint).toBe(alone.olderFingerprint);
  });

  it('keeps the fingerprint where a sliding window ends the text', () => {
    const files = makeModelFiles({ model_type: 'mistral', architectures: undefined, sliding_window: null });
    const json = files['config.json'] as object;
    const full = open(write(files));
    const cut = open(write({ ...files, 'config.json': { ...json, sliding_window: 96 } }));
    expect([full.config.shape.maxPositions, cut.config.shape.maxPositions]).toEqual([512, 96]);
    expect(cut.fingerprint).toBe(full.fingerprint);
  });

  it('passes over an end token of -1 in generation_config.json with a note', () => {
    const folder = write({ ...makeModelFiles(), 'generation_config.json': { eos_token_id: -1 } });
    const { eosTokenIds, notes } = open(folder).config;
    expect(eosTokenIds).toEqual([2]);
    expect(notes).toEqual([
      `\`eos_token_id\` of ${folder}/generation_config.json holds -1, which duo reads as no token`,
    ]);
  });

  it('needs config.json alone where weights are optional', () => {
    const model = open(write({ 'config.json': makeConfigJson() }), { weights: 'optional' });
    expect([model.weights, model.fingerprint]).toEqual([null, null]);
    expect(open(write(makeModelFiles()), { weights: 'optional' }).fingerprint).not.toBeNull();
  });
});

describe('fingerprint', () => {
  const of = (files: Record<string, unknown>): string => open(write(files)).fingerprint!;
  const plain = of(makeModelFiles());

  it('does not depend on the path, nor on the spelling of config.json', () => {
    expect(of(makeModelFiles())).toBe(plain);
    const five = { rope_theta: undefined, rope_parameters: { rope_type: 'default', rope_theta: 1e4 }, extra: 1 };
    expect(of(makeModelFiles(five))).toBe(plain);
  });

  it.each([
    ['rope_theta', makeModelFiles({ rope_theta: 5e5 })],
    ['rope scaling', makeModelFiles({ rope_scaling: { type: 'linear', factor: 2 } })],
    ['positions', makeModelFiles({ max_position_embeddings: 1024 })],
  ])('changes with %s', (_, files) => {
    expect(of(files)).not.toBe(plain);
  });

  it('does not change with sharding, the order of tensors, metadata, or tensors that the model does not use', () => {
    expect(of(makeShardedFiles(2))).toBe(plain);
    expect(of(makeShardedFiles(3))).toBe(plain);
    const json = makeConfigJson();
    const unused = { name: 'model.layers.0.self_attn.rotary_emb.inv_freq', dtype: 'F32' as const, shape: [2] };
    const tensors = [{ ...unused, values: new Float32Array(2) }, ...makeTensors(json).reverse()];
    expect(of({ 'config.json': json, 'model.safetensors': encodeSafetensors(tensors) })).toBe(plain);
  });

  it('changes with the dtype, and with the ends of any tensor', () => {
    const json = makeConfigJson();
    const save = (tensors: ReturnType<typeof makeTensors>): string =>
      of({ 'config.json': json, 'model.safetensors': encodeSafetensors(tensors) });
    expect(save(makeTensors(json, { dtype: 'BF16' }))).not.toBe(plain);
    const found = makeTensors(json).map((_, index) => {
      const tensors = makeTensors(json);
      tensors[index]!.values[tensors[index]!.values.length - 1] = 42;
      return save(tensors);
    });
    expect(new Set([plain, ...found]).size).toBe(found.length + 1);
  });

  it('keeps the kind that goes by files for masks made before', () => {
    const demo = open(new URL('../../../models/demo', import.meta.url).pathname);
    // As bench/results/2026-11-23-demo-ground-truth has it.
    expect(demo.olderFingerprint).toBe('sha256:fa39eadabe2de9a7820795d77cb3ec4e86fb15a593ee3dcd9b332389e1aae32d');
    expect(demo.fingerprint).not.toBe(demo.olderFingerprint);
  });

  it('changes with the first and the last value of a file, wherever they lie', () => {
    const large = (at: number | null): string => {
      const json = makeConfigJson({ vocab_size: 30_000 });
      const tensors = makeTensors(json);
      const last = tensors.at(-1)!;
      if (at !== null) (at === 0 ? tensors[0]! : last).values[at === 0 ? 0 : last.values.length - 1] = 42;
      return of({ 'config.json': json, 'model.safetensors': encodeSafetensors(tensors) });
    };
    expect(new Set([large(null), large(0), large(1)]).size).toBe(3);
    expect(large(null)).toBe(large(null));
  });

  it('is the same for shards renamed in the same order', () => {
    const files = makeShardedFiles(2);
    const folder = write(files);
    const before = open(folder).fingerprint;
    const index = JSON.stringify(files['model.safetensors.index.json']);
    for (const part of [1, 2]) {
      renameSync(join(folder, `model-0000${part}-of-00002.safetensors`), join(folder, `part-${part}.safetensors`));
    }
    writeFileSync(
      join(folder, 'model.safetensors.index.json'),
      index.replace(/model-0000(\d)-of-00002/g, (_, part: string) => `part-${part}`),
    );
    expect(open(folder).fingerprint).toBe(before);
  });
});

describe('a tied model that stores a head', () => {
  /** Embeddings of 4.3 MB: more than one chunk of the comparison. */
  const json = makeConfigJson({ tie_word_embeddings: true, vocab_size: 180_000 });
  const save = (change: (head: WritableTensor) => WritableTensor): string => {
    const tensors = makeTensors(json);
    const embedding = tensors.find(({ name }) => name === 'model.embed_tokens.weight')!;
    const head = change({ ...embedding, name: 'lm_head.weight', values: embedding.values.slice() });
    return write({ 'config.json': json, 'model.safetensors': encodeSafetensors([...tensors, head]) });
  };
  const refusal = (folder: string, found: string): ModelError =>
    new ModelError(
      `Expected \`lm_head.weight\` of ${folder}/model.safetensors to equal \`model.embed_tokens.weight\`, because config.json sets \`tie_word_embeddings\`, got ${found}; set \`tie_word_embeddings\` to false to use the stored head, or remove \`lm_head.weight\` from the weights to use the embeddings.`,
    );

  it('opens where the head repeats the embeddings', () => {
    expect(open(save((head) => head)).config.tiedEmbeddings).toBe(true);
  });

  it.each([0, 180_000 * 3, 180_000 * 6 - 1])('is refused where value %i differs', (at) => {
    const folder = save((head) => ({ ...head, values: head.values.map((v, i) => (i === at ? v + 1 : v)) }));
    expectError(folder, refusal(folder, 'other values'));
  });

  it('is refused where dtype or shape differ', () => {
    const halved = save((head) => ({ ...head, dtype: 'BF16' }));
    expectError(halved, refusal(halved, 'BF16 and F32'));
    const turned = save((head) => ({ ...head, shape: [6, 180_000] }));
    expectError(turned, refusal(turned, 'shapes [6, 180000] and [180000, 6]'));
  });
});

describe("openModelFolder on a folder of the Hub's cache", () => {
  const commits = ['0123456789abcdef0123456789abcdef01234567', 'fedcba9876543210fedcba9876543210fedcba98'];
  const writeCache = (count: number, main?: string): string => {
    const folder = join(scratch, `c${folders++}`, 'models--HuggingFaceTB--SmolLM2-135M');
    for (const [index, commit] of commits.slice(0, count).entries()) {
      writeFolder(join(folder, 'snapshots', commit), makeModelFiles({ rms_norm_eps: 1e-5 * (index + 1) }));
    }
    if (count === 0) mkdirSync(join(folder, 'snapshots'), { recursive: true });
    if (main !== undefined) writeFolder(join(folder, 'refs'), { main });
    return folder;
  };

  it.each([
    [1, undefined, 0],
    [2, commits[1]!, 1],
    [2, `${commits[0]}\n`, 0],
  ])('of %i snapshots with main %j opens snapshot %i', (count, main, chosen) => {
    const folder = writeCache(count, main);
    const model = open(folder);
    expect(model.path).toBe(join(folder, 'snapshots', commits[chosen]!));
    expect(model.name).toBe('SmolLM2-135M');
    expect(model.config.rmsNormEps).toBe(1e-5 * (chosen + 1));
    expect(open(join(folder, 'snapshots')).path).toBe(model.path);
    expect(open(`${model.path}/`)).toMatchObject({ name: 'SmolLM2-135M', fingerprint: model.fingerprint });
  });

  it('leaves other folders of that name alone', () => {
    const folder = write({});
    writeFolder(join(folder, 'snapshots'), makeModelFiles());
    expect(open(join(folder, 'snapshots')).name).toBe('snapshots');
    expectError(
      folder,
      new ModelError(
        `Expected config.json in the model folder ${folder}, found none; pass the folder inside that has one, ${folder}/snapshots.`,
      ),
    );
  });

  it('names a model of it where the whole cache is given, and the folder inside that has the model', () => {
    const folder = writeCache(1);
    const cache = join(folder, '..');
    expectError(
      cache,
      new ModelError(
        `Expected config.json in the model folder ${cache}, found none; it is the Hub's cache: pass one of its models, for example ${folder}.`,
      ),
    );
    const outer = write({});
    writeFolder(join(outer, 'checkpoint-100'), makeModelFiles());
    expectError(
      outer,
      new ModelError(
        `Expected config.json in the model folder ${outer}, found none; pass the folder inside that has one, ${outer}/checkpoint-100.`,
      ),
    );
  });

  it('refuses where none is meant', () => {
    const two = writeCache(2);
    expectError(
      two,
      new ModelError(
        `Expected the snapshot of \`main\` in ${two}/snapshots, a folder of the Hub's cache, found ${commits.join(', ')}; pass the one to be used.`,
      ),
    );
    const none = writeCache(0, commits[0]!);
    expectError(
      none,
      new ModelError(
        `Expected the snapshot of \`main\` in ${none}/snapshots, a folder of the Hub's cache, found none; download the model again.`,
      ),
    );
  });
});

describe('openModelFolder refuses', () => {
  it('a LoRA adapter, alone and beside a model', () => {
    const adapter = { 'adapter_config.json': { peft_type: 'LORA', base_model_name_or_path: 'org/base' } };
    const alone = write({ ...adapter, 'adapter_model.safetensors': 'x' });
    const sentence = (folder: string, more = ''): ModelError =>
      new ModelError(
        `Expected a whole model in ${folder}, got an adapter of \`org/base\` (adapter_config.json); merge it into its base model (\`merge_and_unload\` of PEFT, then \`save_pretrained\`) and pass that folder${more}.`,
      );
    expectError(alone, sentence(alone));
    const beside = write({ ...adapter, ...makeModelFiles() });
    expectError(
      beside,
      sentence(beside, ', or remove adapter_config.json to use the model in the same folder without it'),
    );
  });

  it('weights that hold a LoRA adapter beside its base', () => {
    const query = 'model.layers.0.self_attn.q_proj.';
    const folder = writeChanged((tensors) =>
      tensors
        .map((tensor) => {
          const isQuery = tensor.name === `${query}weight`;
          return { ...tensor, name: `base_model.model.${isQuery ? `${query}base_layer.weight` : tensor.name}` };
        })
        .concat({
          name: `base_model.model.${query}lora_A.weight`,
          dtype: 'F32',
          shape: [1],
          values: new Float32Array(1),
        }),
    );
    expectError(
      folder,
      new ModelError(
        `Expected tensor \`${query}weight\` of shape [16, 6] in ${folder} (model.safetensors), found none; the weights hold parts of a LoRA adapter, which is not merged: merge it (\`merge_and_unload\` of PEFT) and save the model again.`,
      ),
    );
  });

  it.each([
    ['qkv_proj.weight', 'the weights hold fused projections, which duo does not split'],
    ['query_key_value.weight', 'the weights hold fused projections, which duo does not split'],
    ['q_proj.qweight', 'the weights are quantised (GPTQ, AWQ, MLX or the like), which duo does not read'],
    ['q_proj.scales', 'the weights are quantised (GPTQ, AWQ, MLX or the like), which duo does not read'],
  ])('weights that hold %s, with what they are', (name, words) => {
    const query = 'model.layers.0.self_attn.';
    const folder = writeChanged((tensors) =>
      tensors.map((tensor) =>
        tensor.name === `${query}q_proj.weight` ? { ...tensor, name: `${query}${name}` } : tensor,
      ),
    );
    expect(() => open(folder)).toThrow(`(model.safetensors), found none; ${words}`);
  });

  it("weights under their maker's own names", () => {
    const folder = writeChanged((tensors) =>
      tensors.map((tensor) => ({
        ...tensor,
        name: tensor.name.replace('model.embed_tokens', 'tok_embeddings').replace('self_attn.q_proj', 'attention.wq'),
      })),
    );
    expect(() => open(folder)).toThrow('Expected tensor `model.embed_tokens.weight` of shape [11, 6] in');
    expect(() => open(folder)).toThrow("have their maker's own names (consolidated.safetensors)");
  });

  const POINTER = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2200119864\n';
  const LFS = 'a Git LFS pointer instead of the file; run `git lfs pull` in its folder, or download the file itself';
  const PAGE =
    'a web page; download the file itself instead of a page about it (on the Hub: /resolve/ in its address, not /blob/), logged in where the model asks for it';
  const TERMS = 'accept the terms on the page of the model, log in (`hf auth login`) and download the file again';
  const FOREIGN: [string, string][] = [
    [POINTER, LFS],
    ['<!DOCTYPE html>\n<html class="">', PAGE],
    ['\n<html><head>', PAGE],
    [
      'Access to model meta-llama/Llama-3.1-8B is restricted. You must have access to it and be authenticated.',
      `the notice \`Access to model meta-llama/Llama-3.1-8B is restricted. You…\`; ${TERMS}`,
    ],
    ['Invalid username or password.', `the notice \`Invalid username or password.\`; ${TERMS}`],
    ['Entry not found', 'the notice `Entry not found`; check the name of the model and download the file again'],
  ];
  it.each(FOREIGN)('%j in place of a file', (text, words) => {
    const config = write({ ...makeModelFiles(), 'config.json': text });
    expectError(config, new FormatError(`Expected ${config}/config.json to hold JSON, got ${words}.`));
    const weights = write({ 'config.json': makeConfigJson(), 'model.safetensors': text });
    expectError(
      weights,
      new FormatError(`Expected ${weights}/model.safetensors to be a safetensors file, got ${words}.`),
    );
    expect(() => openTokenizer(write({ 'tokenizer.json': text }))).toThrow(
      `tokenizer.json to hold JSON, got ${words}.`,
    );
    const template = write({ 'chat_template.jinja': text });
    expect(() => renderChat(template, [])).toThrow(
      `Expected ${template}/chat_template.jinja to hold a chat template, got ${words}.`,
    );
  });

  it('an empty config.json, and an answer of the Hub in JSON', () => {
    const empty = write({ 'config.json': '\n' });
    expectError(
      empty,
      new FormatError(`Expected ${empty}/config.json to hold JSON, got an empty file; download or write it again.`),
    );
    const refused = write({ 'config.json': { error: 'Access to model org/m is restricted.' } });
    expectError(
      refused,
      new ModelError(
        `Expected ${refused}/config.json to describe a model, got the notice \`"Access to model org/m is restricted."\`; accept the terms on the page of the model, log in (\`hf auth login\`) and download it again.`,
      ),
    );
  });

  it('a name on the hub', () => {
    expectError(
      'meta-llama/Llama-3.1-8B',
      new ModelError(
        'Expected a model folder, got `meta-llama/Llama-3.1-8B`, which looks like a name on the Hugging Face hub: download it first, for example with `hf download meta-llama/Llama-3.1-8B --local-dir Llama-3.1-8B`, and pass that folder.',
      ),
    );
  });

  it('no folder, and a path through a file', () => {
    const absent = join(scratch, 'a', 'b');
    expectError(absent, new ModelError(`Expected a model folder at ${absent}, found nothing there; check the path.`));
    const through = join(write({ x: 'x' }), 'x', 'y');
    expectError(through, new ModelError(`Expected a model folder at ${through}, found nothing there; check the path.`));
  });

  it('a file', () => {
    const file = join(write(makeModelFiles()), 'model.safetensors');
    expectError(
      file,
      new ModelError(
        `Expected a model folder or a GGUF file, got the file ${file}; pass the folder that holds config.json.`,
      ),
    );
  });

  it('a .gguf file that is none, and a folder of GGUF files', () => {
    const folder = write({ 'model.GGUF': 'version https://git-lfs.github.com/spec/v1' });
    const file = join(folder, 'model.GGUF');
    expectError(
      file,
      new FormatError(
        `Expected ${file} to begin with \`GGUF\`, got other bytes, as a Git LFS pointer or a web page has; download it again.`,
      ),
    );
    expectError(
      folder,
      new ModelError(
        `Expected config.json and *.safetensors weights in ${folder}, found a GGUF file; pass the file itself, for example --model ${file}.`,
      ),
    );
    const withConfig = write({ 'config.json': makeConfigJson(), 'a.gguf': 'x', 'b.gguf': 'x' });
    expectError(
      withConfig,
      new ModelError(
        `Expected config.json and *.safetensors weights in ${withConfig}, found 2 GGUF files; pass the file itself, for example --model ${join(withConfig, 'a.gguf')}.`,
      ),
    );
  });

  it('a folder without config.json, or with one that is not JSON', () => {
    const empty = write({});
    expectError(
      empty,
      new ModelError(
        `Expected config.json in the model folder ${empty}, found none; pass a Hugging Face model folder as downloaded.`,
      ),
    );
    const own = write({ 'params.json': {}, 'consolidated.safetensors': 'x' });
    expectError(
      own,
      new ModelError(
        `Expected config.json in the model folder ${own}, found none; params.json is its maker's own form: pass the model in the form that transformers reads.`,
      ),
    );
    expect(() => open(write({ 'config.json': '{"model_type": "lla' }))).toThrow(FormatError);
    expect(() => open(write({ 'config.json': ' '.repeat(2 ** 22 + 1) }))).toThrow('to be at most 4194304 bytes');
  });

  it.each(['NaN', 'Infinity', '-Infinity'])('a config.json with %s, in one line', (literal) => {
    const folder = write({ 'config.json': `{\n  "a NaN \\" Infinity": 1,\n  "rms_norm_eps": ${literal}\n}\n` });
    expectError(
      folder,
      new FormatError(
        `Expected ${folder}/config.json to hold JSON, got \`${literal}\` in line 3, which Python writes and JSON has not; put a number or null there.`,
      ),
    );
  });

  it('other text than JSON in one line', () => {
    expect(() => open(write({ 'config.json': '{\n  "NaN":\n tru\n}' }))).toThrow(
      /^Expected .*config\.json to hold JSON: .*\.$/,
    );
  });

  it('no weights, or PyTorch files only', () => {
    const bare = write({ 'config.json': makeConfigJson() });
    expectError(
      bare,
      new ModelError(`Expected *.safetensors weights in ${bare}, found none; download the weights as well.`),
    );
    const pickled = write({ 'config.json': makeConfigJson(), 'pytorch_model.bin': 'x' });
    expectError(
      pickled,
      new ModelError(
        `Expected *.safetensors weights in ${pickled}, found none; pytorch_model.bin is a PyTorch file, which duo does not read; convert the model to safetensors.`,
      ),
    );
  });

  it('a missing tensor', () => {
    const folder = writeChanged((tensors) => tensors.filter(({ name }) => !name.includes('1.mlp.up_proj')));
    expectError(
      folder,
      new ModelError(
        `Expected tensor \`model.layers.1.mlp.up_proj.weight\` of shape [10, 6] in ${folder} (model.safetensors), found none; download the model again, or check that config.json belongs to these weights.`,
      ),
    );
  });

  it('a missing output layer, with the flag that may be wrong', () => {
    const folder = writeChanged((tensors) => tensors.filter(({ name }) => name !== 'lm_head.weight'));
    expectError(
      folder,
      new ModelError(
        `Expected tensor \`lm_head.weight\` of shape [11, 6] in ${folder} (model.safetensors), found none; set \`tie_word_embeddings\` to true in config.json if the model uses its embeddings there, else download the model again.`,
      ),
    );
  });

  it.each([
    [
      [16, 6],
      [6, 16],
    ],
    [[16, 6], [96]],
    [
      [16, 6],
      [16, 6, 1],
    ],
  ])('a tensor of shape %j as %j', (expected, shape) => {
    const folder = writeChanged((tensors) =>
      tensors.map((tensor) =>
        tensor.name === 'model.layers.0.self_attn.q_proj.weight' ? { ...tensor, shape } : tensor,
      ),
    );
    expectError(
      folder,
      new ModelError(
        `Expected tensor \`model.layers.0.self_attn.q_proj.weight\` of shape [${expected.join(', ')}] in ${folder}/model.safetensors, got [${shape.join(', ')}]; check that config.json belongs to these weights.`,
      ),
    );
  });

  it('a dtype it does not read, where the model needs the tensor', () => {
    const json = makeConfigJson();
    const data = new Map<string, { dtype: string; shape: readonly number[]; data_offsets: number[] }>();
    let offset = 0;
    const add = (name: string, dtype: string, shape: readonly number[], bytes: number): void => {
      data.set(name, { dtype, shape, data_offsets: [offset, offset + bytes] });
      offset += bytes;
    };
    for (const { name, shape, values } of makeTensors(json)) {
      const isNorm = name === 'model.norm.weight';
      add(name, isNorm ? 'F64' : 'F32', shape, values.length * (isNorm ? 8 : 4));
    }
    add('model.layers.0.self_attn.rotary_emb.inv_freq', 'I64', [2], 16);
    const folder = write({ 'config.json': json, 'model.safetensors': makeRawFile(Object.fromEntries(data), offset) });
    expectError(
      folder,
      new ModelError(
        `Expected tensor \`model.norm.weight\` of ${folder}/model.safetensors to be F32, F16 or BF16, got F64; use the model in one of those.`,
      ),
    );
  });
});
