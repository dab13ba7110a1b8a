// The differences of one sample, block by block of heads: in memory while they are small, else in files next to the checkpoint,
// so that the Gram matrix of many heads needs two blocks in memory and never all of them.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileErrorOf, makeFolder } from '../../src/formats/atomic-file.ts';

/** Blocks of one sample. `close` frees them and removes their files. */
export class DifferenceBlocks {
  /** null = in memory */
  readonly #folder: string | null;
  readonly #blocks: Float32Array[] = [];
  #count = 0;

  /** @param options.totalBytes of all blocks together.  @param options.memoryBytes from here on they go to files in `folder`. */
  constructor(options: { totalBytes: number; memoryBytes: number; folder: string }) {
    this.#folder = options.totalBytes > options.memoryBytes ? options.folder : null;
    if (this.#folder === null) return;
    makeFolder(this.#folder);
  }

  get count(): number {
    return this.#count;
  }

  /** @throws {FileError} disk full. */
  append(block: Float32Array): void {
    if (this.#folder === null) this.#blocks.push(block);
    else {
      const path = this.#fileOf(this.#count);
      const bytes = new Uint8Array(block.buffer, block.byteOffset, block.byteLength);
      this.#attempt('write', () => writeFileSync(path, bytes));
    }
    this.#count++;
  }

  /** @param index in order of appending. */
  read(index: number): Float32Array {
    if (this.#folder === null) return this.#blocks[index] as Float32Array;
    const bytes = this.#attempt('read', () => readFileSync(this.#fileOf(index)));
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  }

  close(): void {
    this.#blocks.length = 0;
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true });
  }

  #fileOf(index: number): string {
    return join(this.#folder as string, `block-${index}.f32`);
  }

  #attempt<T>(verb: string, action: () => T): T {
    try {
      return action();
    } catch (cause) {
      throw fileErrorOf(verb, this.#folder as string, cause);
    }
  }
}
