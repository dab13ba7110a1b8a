// Inner products against plain fp64 sums, at lengths around the lanes and chunks, for any number of threads; own products are symmetric.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { describeNative } from '../../reference/native-library.ts';

function draw(rows: number, length: number, seed: number): Float32Array {
  const random = makeRandom(seed, 'gram');
  return Float32Array.from({ length: rows * length }, () => random.uniform() - 0.5);
}

function multiplyPlainly(a: Float32Array, b: Float32Array, length: number): number[] {
  const products: number[] = [];
  for (let row = 0; row < a.length / length; row++) {
    for (let column = 0; column < b.length / length; column++) {
      let sum = 0;
      for (let index = 0; index < length; index++) sum += a[row * length + index]! * b[column * length + index]!;
      products.push(sum);
    }
  }
  return products;
}

describeNative('multiplyGram', () => {
  const engines = new Map<number, Engine>();
  beforeAll(async () => {
    const folder = openModelFolder('test/models/tiny');
    for (const threads of [1, 2]) engines.set(threads, await openNativeEngine(folder, { device: 'cpu', threads }));
    folder.close();
  });
  afterAll(async () => {
    for (const engine of engines.values()) await engine.close();
  });
  const multiplyGram = (
    a: Float32Array,
    b: Float32Array,
    { threads, ...options }: { length: number; scale: number; threads: number },
  ): Promise<Float64Array> => engines.get(threads)!.multiplyGram!(a, b, options);

  it.each([
    [1, 1, 1],
    [3, 5, 15],
    [17, 2, 16],
    [2, 7, 1024],
    [16, 9, 2047],
    [33, 6, 1041],
  ])('of %i and %i rows of %i values', async (numA, numB, length) => {
    const [a, b] = [draw(numA, length, 1), draw(numB, length, 2)];
    const found = await multiplyGram(a, b, { length, scale: 0.25, threads: 2 });
    const expected = multiplyPlainly(a, b, length);
    expect(found).toHaveLength(numA * numB);
    found.forEach((value, index) => {
      expect(Math.abs(value - 0.25 * expected[index]!)).toBeLessThan(1e-13 * length);
    });
    expect(await multiplyGram(a, b, { length, scale: 0.25, threads: 1 })).toEqual(found);
  });

  it('of rows with themselves are those with a copy of them, to the bit', async () => {
    const length = 1100;
    const a = draw(37, length, 3);
    const own = await multiplyGram(a, a, { length, scale: 1 / length, threads: 2 });
    expect(own).toEqual(await multiplyGram(a, a.slice(), { length, scale: 1 / length, threads: 2 }));
    for (let row = 0; row < 37; row++) {
      for (let column = 0; column < row; column++) expect(own[row * 37 + column]).toBe(own[column * 37 + row]);
    }
  });
});
