import { mkdtempSync, renameSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FormatError, ModelError } from '../../../src/errors/errors.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { listGgufFiles, nameGgufModel } from '../../../src/model/gguf-model.ts';
import { type GgufOptions, writeGgufModel } from '../../reference/gguf-model.ts';
import type { Field, RawTensor } from '../../reference/gguf-writer.ts';
import { writeRandomModel } from '../../reference/random-model.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-gguf-open-'));
afterAll(() => rmSync(scratch, { recursive: true }));
let count = 0;

function write(options: GgufOptions = {}, overrides: Record<string, unknown> = {}): string[] {
  const stem = join(scratch, `m${count++}`);
  return writeGgufModel(`${stem}.gguf`, writeRandomModel(stem, { seed: 7, overrides }), options);
}

function fingerprintOf(path: string): string | null {
  const model = openModelFolder(path);
  model.close();
  return model.fingerprint;
}

const extra = (name: string, type: number, bytes: number): readonly RawTensor[] => [
  { name, shape: [1, 32], type, data: new Uint8Array(bytes) },
];

describe('a GGUF file as a model', () => {
  it('is named by its stem, and has no fingerprint of the older kind', () => {
    const [path] = write();
    const model = openModelFolder(path!);
    expect(model.name).toBe(basename(path!, '.gguf'));
    expect(model.path).toBe(path);
    expect(model.olderFingerprint).toBeNull();
    expect(model.config.shape).toMatchObject({ layers: 2, heads: 4, kvHeads: 2, headDim: 8, hidden: 24, vocab: 40 });
    model.close();
    expect(() => model.weights!.readF32('model.norm.weight')).toThrow(/but they were closed/);
  });

  it('opens by any part of a split model, whose fingerprint is that of the whole file', () => {
    const [whole] = write();
    const parts = write({ parts: 3 });
    expect(listGgufFiles(parts[2]!)).toEqual(parts);
    expect(nameGgufModel(parts[1]!)).toBe(basename(parts[0]!).replace('-00001-of-00003.gguf', ''));
    const model = openModelFolder(parts[1]!);
    expect([model.path, model.weights!.files]).toEqual([parts[0], parts]);
    model.close();
    expect(new Set([...parts, whole!].map(fingerprintOf)).size).toBe(1);
  });

  it('has another fingerprint with another value, type or rope', () => {
    const found = [
      fingerprintOf(write()[0]!),
      fingerprintOf(write({ fields: { 'llama.rope.freq_base': ['f32', 50_000] } })[0]!),
      fingerprintOf(write({}, { hidden_size: 32 })[0]!),
      fingerprintOf(write({ quantized: true }, { hidden_size: 32 })[0]!),
    ];
    expect(new Set(found).size).toBe(4);
  });

  it('reads end-of-turn tokens by id and by name', () => {
    const fields: Record<string, Field> = {
      'tokenizer.ggml.eos_token_id': ['u32', 2],
      'tokenizer.ggml.eot_token_id': ['u32', 5],
      'tokenizer.ggml.bos_token_id': ['u32', 2 ** 32 - 1],
      'tokenizer.ggml.tokens': ['strings', ['a', '<|im_end|>', '</s>', '<|eot_id|>']],
      'tokenizer.ggml.token_type': ['i32s', [1, 3, 3, 1]],
    };
    const model = openModelFolder(write({ fields })[0]!);
    expect([model.config.eosTokenIds, model.config.bosTokenId]).toEqual([[2, 5, 1], null]);
    model.close();
  });

  it('ends where a sliding window would cut', () => {
    const read = (window: number) => {
      const fields: Record<string, Field> = { 'llama.attention.sliding_window': ['u32', window] };
      const model = openModelFolder(write({ fields })[0]!);
      model.close();
      return { positions: model.config.shape.maxPositions, notes: model.config.notes, print: model.fingerprint };
    };
    const plain = read(0);
    expect(read(512)).toEqual(plain);
    expect(plain.positions).toBe(512);
    const note =
      '`llama.attention.sliding_window` is 64: full attention, which is all that duo computes, is the same up to 64 tokens, and texts end there; to go on to 512 with full attention, take a file made without a window';
    expect(read(64)).toEqual({ ...plain, positions: 64, notes: [note] });
  });

  it('takes counts written for each layer where they are equal', () => {
    const fields: Record<string, Field> = { 'llama.attention.head_count_kv': ['i32s', [2, 2]] };
    expect(fingerprintOf(write({ fields })[0]!)).not.toBeNull();
    const other: Record<string, Field> = { 'llama.attention.head_count_kv': ['i32s', [2, 1]] };
    expect(() => openModelFolder(write({ fields: other })[0]!)).toThrow(/head_count_kv` .* the same in every layer/);
  });
});

describe('openModelFolder refuses a GGUF file', () => {
  it.each<[string, Record<string, Field | undefined>, RegExp]>([
    [
      'of another architecture',
      { 'general.architecture': ['string', 'gemma3'] },
      /to be llama, mistral, qwen2, qwen3, got `gemma3`/,
    ],
    ['without an architecture', { 'general.architecture': undefined }, /`general\.architecture` .* got nothing/],
    ['of experts', { 'llama.expert_count': ['u32', 8] }, /`llama\.expert_count` .* got `8`: duo does not compute it/],
    [
      'with a sliding window that is no number',
      { 'llama.attention.sliding_window': ['string', '64'] },
      /sliding_window` .* to be a number of tokens, got `64`/,
    ],
    ['that is not causal', { 'llama.attention.causal': ['bool', 0] }, /`llama\.attention\.causal` .* to be true/],
    ['with an attention scale', { 'llama.attention.scale': ['f32', 1] }, /attention\.scale` .* 1\/sqrt\(8\)/],
    ['with a logit scale', { 'llama.logit_scale': ['f32', 0.5] }, /logit_scale/],
    [
      'that turns half of a head',
      { 'llama.rope.dimension_count': ['u32', 4] },
      /dimension_count` .* the head size 8, got `4`/,
    ],
    [
      'of another rope type',
      { 'llama.rope.scaling.type': ['string', 'longrope'] },
      /none, linear or yarn, got `longrope`/,
    ],
    ['without layers', { 'llama.block_count': undefined }, /`llama\.block_count` .* at least 1, got nothing/],
    ['with 2^40 layers', { 'llama.block_count': ['u64', 2 ** 40] }, /1024/],
    ['with a text for a number', { 'llama.context_length': ['string', 'long'] }, /context_length` .* got `long`/],
  ])('%s', (_, fields, words) => {
    expect(() => openModelFolder(write({ fields })[0]!)).toThrow(words);
  });

  it.each([
    [20, 18, 'IQ4_NL'],
    [23, 136, 'IQ4_XS'],
    [34, 54, 'TQ1_0'],
    [39, 17, 'MXFP4'],
    [77, 18, 'type 77'],
  ])('with a tensor of type %d, by name', (type, bytes, name) => {
    const [path] = write({ extra: extra('blk.0.attn_q.extra', type, bytes) });
    expect(() => openModelFolder(path!)).toThrow(ModelError);
    expect(() => openModelFolder(path!)).toThrow(
      new RegExp(`to be F32, F16, .*, Q6_K, got ${name}: duo does not compute it`),
    );
  });

  it('with a tensor that would change the computation', () => {
    const [path] = write({ extra: extra('blk.0.attn_sinks.weight', 0, 128) });
    expect(() => openModelFolder(path!)).toThrow(
      /got `blk\.0\.attn_sinks\.weight`, which would change the computation/,
    );
  });

  it('that was cut, lacks a tensor, or has one of another shape', () => {
    const [path] = write();
    truncateSync(path!, 9000);
    expect(() => openModelFolder(path!)).toThrow(/the download is incomplete, continue it/);
    expect(() => openModelFolder(write({ fields: { 'llama.block_count': ['u32', 3] } })[0]!)).toThrow(
      /Expected tensor `model\.layers\.2\./,
    );
    expect(() => openModelFolder(write({ fields: { 'llama.feed_forward_length': ['u32', 48] } })[0]!)).toThrow(
      /of shape \[48, 24\] .* got \[36, 24\]/,
    );
  });

  it('of which a part is missing, or in the wrong place', () => {
    const parts = write({ parts: 3 });
    renameSync(parts[1]!, `${parts[1]}.away`);
    expect(() => openModelFolder(parts[0]!)).toThrow(/Expected 3 parts .* \(1 missing\); download the missing files/);
    renameSync(parts[2]!, parts[1]!);
    renameSync(`${parts[1]}.away`, parts[2]!);
    expect(() => openModelFolder(parts[0]!)).toThrow(FormatError);
    expect(() => openModelFolder(parts[0]!)).toThrow(/to be part 2 of 3, got part 3 of 3/);
    const alone = join(scratch, 'alone.gguf');
    renameSync(parts[0]!, alone);
    expect(() => openModelFolder(alone)).toThrow(/part 1 of 1, got part 1 of 3; give its parts their names/);
  });
});
