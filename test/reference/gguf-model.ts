// A model folder of writeRandomModel as the GGUF file that llama.cpp's converter would make of it.
import { writeFileSync } from 'node:fs';
import { listExpectedTensors } from '../../src/model/tensor-names.ts';
import { encodeGguf, type Field, nameInGguf, pairRows, quantizeQ8, type RawTensor } from './gguf-writer.ts';
import type { ReferenceModel } from './transformer.ts';

export interface GgufOptions {
  /** matrices whose rows are whole blocks become Q8_0, and the model's values what the blocks stand for */
  readonly quantized?: boolean;
  /** more metadata, or other values; undefined removes a field */
  readonly fields?: Readonly<Record<string, Field | undefined>>;
  readonly extra?: readonly RawTensor[];
  /** 1 = one file */
  readonly parts?: number;
}

/** Write `path`, or with parts the files that its name implies. @returns the paths. */
export function writeGgufModel(path: string, model: ReferenceModel, options: GgufOptions = {}): string[] {
  const { config, weights } = model;
  const { shape } = config;
  const own = (key: string): string => `${shape.architecture}.${key}`;
  const fields: Record<string, Field | undefined> = {
    'general.architecture': ['string', shape.architecture],
    [own('block_count')]: ['u32', shape.layers],
    [own('context_length')]: ['u32', shape.maxPositions],
    [own('embedding_length')]: ['u32', shape.hidden],
    [own('feed_forward_length')]: ['u32', shape.intermediate],
    [own('attention.head_count')]: ['u32', shape.heads],
    [own('attention.head_count_kv')]: ['u32', shape.kvHeads],
    [own('attention.key_length')]: ['u32', shape.headDim],
    [own('attention.value_length')]: ['u32', shape.headDim],
    [own('attention.layer_norm_rms_epsilon')]: ['f32', config.rmsNormEps],
    [own('rope.freq_base')]: ['f32', config.ropeTheta],
    [own('rope.dimension_count')]: ['u32', shape.headDim],
    ...options.fields,
  };
  const tensors = listExpectedTensors(config).map(({ name, shape: axes }) => {
    const values = weights.get(name)!;
    const isPaired = shape.architecture === 'llama' && /\.[qk]_proj\./.test(name);
    const order = (from: Float32Array): Float32Array =>
      isPaired ? pairRows(from, { rows: axes[0]!, headDim: shape.headDim }) : from;
    if (options.quantized && axes.length === 2 && axes[1]! % 32 === 0) {
      values.set(quantizeQ8(values).values);
      return { name: nameInGguf(name), shape: axes, type: 8, data: quantizeQ8(order(values)).data };
    }
    const stored = order(values);
    return {
      name: nameInGguf(name),
      shape: axes,
      type: 0,
      data: new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength),
    };
  });
  const all: RawTensor[] = [...tensors, ...(options.extra ?? [])];
  const given = Object.fromEntries(
    Object.entries(fields).filter((entry): entry is [string, Field] => entry[1] !== undefined),
  );
  const { parts = 1 } = options;
  if (parts === 1) {
    writeFileSync(path, encodeGguf(given, all));
    return [path];
  }
  return Array.from({ length: parts }, (_, index) => {
    const file = path.replace(/\.gguf$/, `-0000${index + 1}-of-0000${parts}.gguf`);
    const split: Record<string, Field> = {
      'split.no': ['u16', index],
      'split.count': ['u16', parts],
      'split.tensors.count': ['i32', all.length],
    };
    const own = all.filter((_, at) => at % parts === index);
    writeFileSync(file, encodeGguf(index === 0 ? { ...given, ...split } : split, own));
    return file;
  });
}
