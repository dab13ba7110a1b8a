// Reads test/golden: models, cases and tensors of an independent implementation (see the README there).
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Sample, Supervise, Window } from '../../src/core/shapes.ts';

export type GoldenName = 'mha-2l' | 'gqa-4l-d192';

export interface GoldenCase {
  /** of its tensors' names, for example `case0.` */
  readonly prefix: string;
  readonly window: Window;
  /** float64 distillation loss with the mixed gates */
  readonly loss: Record<Supervise, number>;
  readonly sample: Sample;
}

export interface Golden {
  /** the model folder */
  readonly path: string;
  readonly cases: readonly GoldenCase[];
  /** @throws {Error} no such tensor. */
  tensor(name: string): Float32Array | Float64Array | Int32Array;
  has(name: string): boolean;
}

/** @throws {Error} no such tensor. */
export type ReadTensor = ((key: string) => Float32Array | Float64Array | Int32Array) & {
  readonly names: readonly string[];
};

interface Entry {
  readonly dtype: 'F32' | 'F64' | 'I32';
  readonly data_offsets: [number, number];
}

const ARRAYS = { F32: Float32Array, F64: Float64Array, I32: Int32Array };

export function readGolden(name: GoldenName): Golden {
  const path = fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
  const tensor = readTensors(`${path}/golden.safetensors`);
  const json = JSON.parse(readFileSync(`${path}/golden.json`, 'utf8')) as { cases: Record<string, unknown>[] };
  const cases = json.cases.map((entry): GoldenCase => {
    const prefix = entry.prefix as string;
    const positions = tensor(`${prefix}answer_positions`);
    return {
      prefix,
      window: { sinkTokens: entry.sink as number, recentTokens: entry.recent as number },
      loss: {
        predict: entry['distill_loss.predict.f64'] as number,
        answer: entry['distill_loss.answer.f64'] as number,
      },
      sample: {
        tokens: [...tensor(`${prefix}input_ids`)],
        answers: [...positions].map((position) => [position, position + 1]),
      },
    };
  });
  return { path, cases, tensor, has: (key) => tensor.names.includes(key) };
}

/** The tensors of a golden safetensors file, by name. */
export function readTensors(path: string): ReadTensor {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<string, Entry>;
  const tensor = (key: string): Float32Array | Float64Array | Int32Array => {
    const entry = header[key];
    if (entry === undefined) throw new Error(`no golden tensor ${key} in ${path}`);
    const start = file.byteOffset + 8 + headerBytes;
    const bytes = file.buffer.slice(start + entry.data_offsets[0], start + entry.data_offsets[1]);
    return new ARRAYS[entry.dtype](bytes as ArrayBuffer);
  };
  return Object.assign(tensor, { names: Object.keys(header) });
}
