// The pieces of a run that several processes work on: each piece is computed by one of them, under a claim, and read by all. Every process
// goes through the whole run and asks for every piece, so that all of them end with what one alone would.
import { join } from 'node:path';
import { Claims } from '../src/core/claims.ts';
import { AbortedError } from '../src/errors/errors.ts';
import { makeFolder } from '../src/formats/atomic-file.ts';
import { findSharedResult, writeSharedResult } from '../src/formats/shared-result.ts';

/** How often a process looks for a piece that another is at work on. */
const POLL_MS = 200;

/** What came of a look at a piece: found, claimed for this process, or in other hands. */
export type Piece = { readonly values: Float64Array } | 'mine' | 'elsewhere';

export class SharedResults {
  readonly #folder: string;
  readonly #claims: Claims;

  /** @param folder made if absent. @throws {FileError}. */
  constructor(folder: string, claims = new Claims()) {
    makeFolder(folder);
    this.#folder = folder;
    this.#claims = claims;
  }

  /** Find a piece, or claim it. @param key file-name text. @throws {FormatError}; {FileError}. */
  take(key: string): Piece {
    const path = join(this.#folder, `${key}.json`);
    const values = findSharedResult(path, key);
    if (values) return { values };
    if (!this.#claims.take(`${path}.claim`)) return 'elsewhere';
    // It may have been finished between the look and the claim.
    const late = findSharedResult(path, key);
    if (late === null) return 'mine';
    this.drop(key);
    return { values: late };
  }

  /** Keep a piece that was claimed, for all. */
  put(key: string, values: Float64Array): void {
    writeSharedResult(join(this.#folder, `${key}.json`), key, values);
    this.drop(key);
  }

  /** Give up a claim. */
  drop(key: string): void {
    this.#claims.release(join(this.#folder, `${key}.json.claim`));
  }

  /** A piece: found, computed here, or waited for. @throws {AbortedError}; what `compute` throws. */
  async obtain(key: string, compute: () => Promise<Float64Array>, signal?: AbortSignal): Promise<Float64Array> {
    for (;;) {
      const piece = this.take(key);
      if (piece === 'mine') return this.compute(key, compute);
      if (piece !== 'elsewhere') return piece.values;
      await waitAMoment(signal);
    }
  }

  /** Compute a piece that was claimed, and keep it. */
  async compute(key: string, compute: () => Promise<Float64Array>): Promise<Float64Array> {
    try {
      const values = await compute();
      this.put(key, values);
      return values;
    } catch (error) {
      this.drop(key);
      throw error;
    }
  }

  close(): void {
    this.#claims.close();
  }
}

/** Wait before the next look. @throws {AbortedError}. */
export async function waitAMoment(signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) throw new AbortedError('Stopped while other processes were at work on the rest.');
  await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
