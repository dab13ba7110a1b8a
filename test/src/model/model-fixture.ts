// Builds small model folders for tests: a config.json and random finite weights of the expected names, single or sharded, and raw files.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { encodeSafetensors, type WritableTensor } from '../../../scripts/safetensors-writer.ts';
import { makeRandom } from '../../../src/core/random.ts';
import { parseModelConfig } from '../../../src/model/config.ts';
import { listExpectedTensors } from '../../../src/model/tensor-names.ts';

/** config.json of a two-layer Llama with H·D ≠ C; fields of `changes` replace its own, undefined removes one. */
export function makeConfigJson(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const json: Record<string, unknown> = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: 11,
    hidden_size: 6,
    intermediate_size: 10,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 4,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10000.0,
    max_position_embeddings: 512,
    bos_token_id: 1,
    eos_token_id: 2,
    torch_dtype: 'float32',
    ...changes,
  };
  for (const [key, value] of Object.entries(json)) if (value === undefined) delete json[key];
  return json;
}

/** Random weights for a config, F32 unless told. */
export function makeTensors(json: unknown, options: { seed?: number; dtype?: 'F32' | 'BF16' } = {}): WritableTensor[] {
  const random = makeRandom(options.seed ?? 7, 'weights');
  return listExpectedTensors(parseModelConfig(json, 'config.json')).map(({ name, shape }) => ({
    name,
    shape,
    dtype: options.dtype ?? 'F32',
    values: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.uniform() - 0.5),
  }));
}

/** Write files into `folder`, objects as JSON; creates it. */
export function writeFolder(folder: string, files: Record<string, unknown>): string {
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    const isRaw = typeof content === 'string' || content instanceof Uint8Array;
    writeFileSync(join(folder, name), isRaw ? content : JSON.stringify(content));
  }
  return folder;
}

/** config.json and model.safetensors. */
export function makeModelFiles(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const json = makeConfigJson(changes);
  return { 'config.json': json, 'model.safetensors': encodeSafetensors(makeTensors(json)) };
}

/** The same model in `count` shards with an index. */
export function makeShardedFiles(count: number): Record<string, unknown> {
  const json = makeConfigJson();
  const tensors = makeTensors(json);
  const nameOf = (index: number): string => `model-0000${index + 1}-of-0000${count}.safetensors`;
  const files: Record<string, unknown> = { 'config.json': json };
  const weightMap: Record<string, string> = {};
  for (let index = 0; index < count; index++) {
    const part = tensors.filter((_, at) => at % count === index);
    files[nameOf(index)] = encodeSafetensors(part);
    for (const { name } of part) weightMap[name] = nameOf(index);
  }
  files['model.safetensors.index.json'] = { metadata: { total_size: 1 }, weight_map: weightMap };
  return files;
}

/** A safetensors file from a header (object or text) and data bytes; `length` overrides the stored header length. */
export function makeRawFile(header: unknown, data: Uint8Array | number = 0, length?: bigint): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([prefix, text, typeof data === 'number' ? Buffer.alloc(data) : data]);
}

/** A folder for this test file's files, removed at its end. */
export function makeScratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'duo-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
