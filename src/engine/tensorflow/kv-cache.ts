// Cached keys and values of one KV head (docs/semantics.md, 6): all positions for a retrieval head, sinks and a ring of the
// recent ones for a streaming head. Keys are stored after RoPE at absolute positions.
import type { Window } from '../../core/shapes.ts';

export type CachedEntries = {
  /** position of each entry, ascending */
  readonly positions: readonly number[];
  /** `[positions, D]` fp32, row-major; may be a view into the cache */
  readonly keys: Float32Array;
  readonly values: Float32Array;
};

export interface HeadCacheOptions {
  /** T_max */
  readonly maxTokens: number;
  readonly headDim: number;
  /** null = retrieval head */
  readonly window: Window | null;
}

/** Cache of one KV head. Position j lies in slot j if j < S, else in S + ((j − S) mod R); a retrieval head has S = T_max. */
export class HeadCache {
  readonly #keys: Float32Array;
  readonly #values: Float32Array;
  readonly #options: HeadCacheOptions;
  readonly #headDim: number;
  readonly #sinkTokens: number;
  readonly #recentTokens: number;

  constructor(options: HeadCacheOptions) {
    const { maxTokens, headDim, window } = options;
    const slots = window === null ? maxTokens : Math.min(maxTokens, window.sinkTokens + window.recentTokens);
    this.#options = options;
    this.#headDim = headDim;
    this.#sinkTokens = window === null ? maxTokens : Math.min(window.sinkTokens, slots);
    this.#recentTokens = slots - this.#sinkTokens;
    this.#keys = new Float32Array(slots * headDim);
    this.#values = new Float32Array(slots * headDim);
  }

  get byteLength(): number {
    return this.#keys.byteLength + this.#values.byteLength;
  }

  /** null = retrieval head */
  get window(): Window | null {
    return this.#options.window;
  }

  /** Positions still held when `length` tokens were seen, ascending. */
  listPositions(length: number): number[] {
    const sinks = Math.min(length, this.#sinkTokens);
    const firstRecent = Math.max(sinks, length - this.#recentTokens);
    const positions = Array.from({ length: sinks }, (_, index) => index);
    for (let position = firstRecent; position < length; position++) positions.push(position);
    return positions;
  }

  /** Store consecutive positions from `start`; those that fall out of the window at once are skipped.
   * @param entries keys and values `[count, D]`. */
  write(start: number, entries: { keys: Float32Array; values: Float32Array }): void {
    const dim = this.#headDim;
    const end = start + entries.keys.length / dim;
    for (let position = start; position < end; position++) {
      if (position >= this.#sinkTokens && position < end - this.#recentTokens) continue;
      const from = (position - start) * dim;
      const slot = this.#slotOf(position) * dim;
      this.#keys.set(entries.keys.subarray(from, from + dim), slot);
      this.#values.set(entries.values.subarray(from, from + dim), slot);
    }
  }

  /** Everything held when `length` tokens were seen, in position order. */
  read(length: number): CachedEntries {
    const dim = this.#headDim;
    const positions = this.listPositions(length);
    if (positions.length === length) {
      return {
        positions,
        keys: this.#keys.subarray(0, length * dim),
        values: this.#values.subarray(0, length * dim),
      };
    }
    const keys = new Float32Array(positions.length * dim);
    const values = new Float32Array(positions.length * dim);
    positions.forEach((position, index) => {
      const slot = this.#slotOf(position) * dim;
      keys.set(this.#keys.subarray(slot, slot + dim), index * dim);
      values.set(this.#values.subarray(slot, slot + dim), index * dim);
    });
    return { positions, keys, values };
  }

  /** An independent cache with the same content. */
  clone(): HeadCache {
    const copy = new HeadCache(this.#options);
    copy.#keys.set(this.#keys);
    copy.#values.set(this.#values);
    return copy;
  }

  #slotOf(position: number): number {
    if (position < this.#sinkTokens) return position;
    return this.#sinkTokens + ((position - this.#sinkTokens) % this.#recentTokens);
  }
}
