import { closeSync, openSync, statSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeSafetensors, writeSafetensors } from '../../../scripts/safetensors-writer.ts';
import { FormatError, ModelError } from '../../../src/errors/errors.ts';
import { openWeights, type WeightStore } from '../../../src/model/weights.ts';
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

function use<T>(folder: string, read: (weights: WeightStore) => T): T {
  const weights = openWeights(folder)!;
  try {
    return read(weights);
  } finally {
    weights.close();
  }
}

describe('openWeights', () => {
  it('reads back what was written, in F32 exactly and in BF16 rounded', () => {
    const folder = write({});
    const values = Float32Array.of(0, -0, 1.5, -3.25, 2 ** -126, 2 ** -149, 1.00390625, 3e38);
    const file = join(folder, 'model.safetensors');
    writeSafetensors(file, {
      tensors: [
        { name: 'a', dtype: 'F32', shape: [2, 4], values },
        { name: 'b', dtype: 'BF16', shape: [8], values },
        { name: 'empty', dtype: 'BF16', shape: [0], values: new Float32Array(0) },
      ],
    });
    use(folder, (weights) => {
      expect(weights.files).toEqual([file]);
      expect(weights.has('a')).toBe(true);
      expect(weights.has('c')).toBe(false);
      expect(weights.info('a')).toMatchObject({ name: 'a', dtype: 'F32', shape: [2, 4], file, byteLength: 32 });
      expect(weights.readF32('a')).toEqual(values);
      expect([...weights.readF32('b')].slice(0, 4)).toEqual([0, -0, 1.5, -3.25]);
      expect(weights.readF32('b')[6]).toBe(1);
      expect(weights.readF32('empty').length).toBe(0);
    });
  });

  it('reads F16 and tensors longer than one conversion chunk', () => {
    const count = 2 ** 21 + 3;
    const words = new Uint16Array(count).fill(0x3c00);
    words[count - 1] = 0xc000;
    const bytes = new Uint8Array(words.buffer);
    const header = { h: { dtype: 'F16', shape: [count], data_offsets: [0, bytes.length] } };
    use(write({ 'model.safetensors': makeRawFile(header, bytes) }), (weights) => {
      const values = weights.readF32('h');
      expect([values[0], values[2 ** 21 - 1], values[2 ** 21], values[count - 1]]).toEqual([1, 1, 1, -2]);
    });
  });

  it('reads a tensor past 4 GiB', () => {
    const before = 2 ** 32 + 12;
    const header = {
      filler: { dtype: 'U8', shape: [before], data_offsets: [0, before] },
      last: { dtype: 'F32', shape: [2], data_offsets: [before, before + 8] },
    };
    const folder = write({ 'model.safetensors': makeRawFile(header) });
    const path = join(folder, 'model.safetensors');
    const dataOffset = statSync(path).size;
    // A sparse file: the filler takes no room on the disk.
    const file = openSync(path, 'r+');
    writeSync(file, Float32Array.of(1.5, -2), 0, 8, dataOffset + before);
    closeSync(file);
    use(folder, (weights) => expect([...weights.readF32('last')]).toEqual([1.5, -2]));
  });

  it('shards hold the same values as one file', () => {
    const names = makeTensors(makeConfigJson()).map(({ name }) => name);
    const single = use(write(makeModelFiles()), (weights) => names.map((name) => weights.readF32(name)));
    for (const count of [1, 3]) {
      const sharded = use(write(makeShardedFiles(count)), (weights) => {
        expect(weights.files.length).toBe(count);
        return names.map((name) => weights.readF32(name));
      });
      expect(sharded).toEqual(single);
    }
  });

  it('prefers model.safetensors, takes a single file of another name, and says null where there is none', () => {
    const one = encodeSafetensors([{ name: 'a', dtype: 'F32', shape: [1], values: Float32Array.of(1) }]);
    const two = encodeSafetensors([{ name: 'a', dtype: 'F32', shape: [1], values: Float32Array.of(2) }]);
    const read = (folder: string) => use(folder, (weights) => weights.readF32('a')[0]);
    expect(read(write({ 'model.safetensors': one, 'consolidated.safetensors': two }))).toBe(1);
    expect(read(write({ 'weights.safetensors': two }))).toBe(2);
    expect(openWeights(write({ 'config.json': {} }))).toBeNull();
  });

  it.each([
    ['NaN', 0x7fc0],
    ['Infinity', 0x7f80],
    ['-Infinity', 0xff80],
  ])('names the place of %s', (shown, word) => {
    const words = new Uint16Array(5);
    words[3] = word;
    const header = { w: { dtype: 'BF16', shape: [5], data_offsets: [0, 10] } };
    const folder = write({ 'model.safetensors': makeRawFile(header, new Uint8Array(words.buffer)) });
    const message = `Expected finite numbers in tensor \`w\` of ${folder}/model.safetensors, got ${shown} at index 3; download the file again or use another model.`;
    use(folder, (weights) => expect(() => weights.readF32('w')).toThrow(new ModelError(message)));
  });

  it('names a tensor that is absent, or of a dtype it does not read', () => {
    const header = {
      i: { dtype: 'I8', shape: [4], data_offsets: [0, 4] },
      d: { dtype: 'F64', shape: [1], data_offsets: [4, 12] },
      e: { dtype: 'F8_E4M3', shape: [1], data_offsets: [12, 13] },
    };
    const folder = write({ 'model.safetensors': makeRawFile(header, 13) });
    const file = join(folder, 'model.safetensors');
    use(folder, (weights) => {
      for (const [name, dtype] of [
        ['i', 'I8'],
        ['d', 'F64'],
        ['e', 'F8_E4M3'],
      ] as const) {
        const message = `Expected tensor \`${name}\` of ${file} to be F32, F16 or BF16, got ${dtype}; use the model in one of those.`;
        expect(() => weights.info(name)).toThrow(new ModelError(message));
        expect(() => weights.readF32(name)).toThrow(new ModelError(message));
      }
      expect(() => weights.info('x')).toThrow(
        new ModelError(`Expected tensor \`x\` in ${file}, found none; download the model again.`),
      );
    });
  });

  it('closes twice without harm, and refuses to read afterwards', () => {
    const weights = openWeights(write(makeModelFiles()))!;
    weights.close();
    weights.close();
    expect(() => weights.readF32('lm_head.weight')).toThrow(
      new ModelError('Expected open weights to read tensor `lm_head.weight`, but they were closed.'),
    );
  });

  it('names a file cut after it was opened', () => {
    const folder = write(makeModelFiles());
    const weights = openWeights(folder)!;
    truncateSync(join(folder, 'model.safetensors'), 5000);
    expect(() => weights.readF32('lm_head.weight')).toThrow(FormatError);
    weights.close();
  });
});

describe('openWeights refuses', () => {
  it('a missing shard, with how many are missing', () => {
    const files = makeShardedFiles(3);
    delete files['model-00002-of-00003.safetensors'];
    const folder = write(files);
    expect(() => openWeights(folder)).toThrow(
      new ModelError(
        `Expected shard ${folder}/model-00002-of-00003.safetensors, which ${folder}/model.safetensors.index.json names, found no such file (1 of 3 shards are missing); download the missing files.`,
      ),
    );
  });

  it('an index that names a tensor the shard lacks', () => {
    const files = makeShardedFiles(2);
    const index = files['model.safetensors.index.json'] as { weight_map: Record<string, string> };
    index.weight_map['model.norm.bias'] = 'model-00001-of-00002.safetensors';
    const folder = write(files);
    expect(() => openWeights(folder)).toThrow(
      new FormatError(
        `Expected tensor \`model.norm.bias\` in ${folder}/model-00001-of-00002.safetensors, where ${folder}/model.safetensors.index.json places it, found none; download both files again.`,
      ),
    );
  });

  it.each([
    ['../secret.safetensors', '"../secret.safetensors"'],
    ['a\\b.safetensors', '"a\\\\b.safetensors"'],
    ['weights.bin', '"weights.bin"'],
    [7, '7'],
  ])('an index that points at %s', (file, shown) => {
    const folder = write({
      'x.safetensors': 'x',
      'model.safetensors.index.json': { weight_map: { a: file } },
    });
    expect(() => openWeights(folder)).toThrow(
      new FormatError(
        `Expected \`weight_map\` of ${folder}/model.safetensors.index.json to give a *.safetensors file name for tensor \`a\`, got \`${shown}\`.`,
      ),
    );
  });

  it.each([
    [{}, 'Expected an object `weight_map` in I, got `nothing`.'],
    [{ weight_map: [] }, 'Expected an object `weight_map` in I, got `[]`.'],
    [{ weight_map: {} }, 'Expected at least one tensor in `weight_map` of I, got none.'],
  ])('the index %j', (index, message) => {
    const folder = write({ 'x.safetensors': 'x', 'model.safetensors.index.json': index });
    expect(() => openWeights(folder)).toThrow(message.replace('I', `${folder}/model.safetensors.index.json`));
  });

  it('shards without their index', () => {
    const files = makeShardedFiles(2);
    delete files['model.safetensors.index.json'];
    const folder = write(files);
    expect(() => openWeights(folder)).toThrow(
      new ModelError(
        `Expected model.safetensors or model.safetensors.index.json in ${folder}, found 2 *.safetensors without an index; download the index as well.`,
      ),
    );
  });
});

describe('encodeSafetensors', () => {
  const values = Float32Array.of(1, 2);
  it('gives the same bytes for the same input, with aligned data', () => {
    const tensors = [{ name: 'a', dtype: 'F32', shape: [2], values }] as const;
    const bytes = encodeSafetensors(tensors, { format: 'pt' });
    expect(encodeSafetensors(tensors, { format: 'pt' })).toEqual(bytes);
    expect((bytes.length - 8) % 8).toBe(0);
  });

  it('refuses a wrong shape and a name twice', () => {
    expect(() => encodeSafetensors([{ name: 'a', dtype: 'F32', shape: [3], values }])).toThrow(
      'Expected 3 values for tensor `a` [3], got 2.',
    );
    const a = { name: 'a', dtype: 'F32', shape: [2], values } as const;
    expect(() => encodeSafetensors([a, a])).toThrow('Expected each tensor once, got `a` twice.');
  });
});
