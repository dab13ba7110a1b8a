// Inner products of all differences of a sample, two blocks in memory at a time: on the engine where it can, else in plain loops.
import type { Engine } from '../../src/engine/engine.ts';
import { AbortedError } from '../../src/errors/errors.ts';
import type { DifferenceBlocks } from './difference-blocks.ts';

/** Inner products of all rows, block by block, times `scale`. The bytes do not depend on how rows lie in blocks.
 * @param options.size rows of all blocks.  @returns `[size, size]` fp64, symmetric. @throws {AbortedError}; {FileError}. */
export async function multiplyBlocks(
  blocks: DifferenceBlocks,
  options: { engine: Engine; length: number; scale: number; size: number; signal: AbortSignal | undefined },
): Promise<Float64Array> {
  const { engine, length, scale, size, signal } = options;
  const multiply = engine.multiplyGram?.bind(engine) ?? multiplyGram;
  const gram = new Float64Array(size * size);
  let firstRow = 0;
  for (let index = 0; index < blocks.count; index++) {
    const a = blocks.read(index);
    const rows = a.length / length;
    let firstColumn = 0;
    for (let other = 0; other <= index; other++) {
      if (signal?.aborted) throw new AbortedError('Stopped before the sample was measured.');
      const b = other === index ? a : blocks.read(other);
      const columns = b.length / length;
      const part = await multiply(a, b, { length, scale });
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const value = part[row * columns + column] as number;
          gram[(firstRow + row) * size + firstColumn + column] = value;
          gram[(firstColumn + column) * size + firstRow + row] = value;
        }
      }
      firstColumn += columns;
    }
    firstRow += rows;
  }
  return gram;
}

/** `engine.multiplyGram` for engines without it: fp64 sums in index order. */
async function multiplyGram(
  a: Float32Array,
  b: Float32Array,
  options: { length: number; scale: number },
): Promise<Float64Array> {
  const { length, scale } = options;
  const rows = a.length / length;
  const columns = b.length / length;
  const gram = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const own = a.subarray(row * length, (row + 1) * length);
    for (let column = 0; column < columns; column++) {
      const other = b.subarray(column * length, (column + 1) * length);
      let sum = 0;
      for (let index = 0; index < length; index++) sum += (own[index] as number) * (other[index] as number);
      gram[row * columns + column] = scale * sum;
    }
  }
  return gram;
}
