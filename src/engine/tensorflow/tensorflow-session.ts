// A session of the `tensorflow` engine: prefill and decode over a real KV cache (docs/semantics.md, 6 and 7).
// The cache lives in typed arrays; tensors exist only during a call. A chunk enters the cache when all its layers are done,
// so that an abort leaves the session at the last whole chunk.
import * as tf from '@tensorflow/tfjs-core';
import type { Session, SessionMemory, SessionOptions } from '../../core/session.ts';
import type { HeadMask } from '../../core/shapes.ts';
import { ConfigError, EngineError } from '../../errors/errors.ts';
import { normFinal } from '../../model/transformer/forward.ts';
import { gatherRows } from '../../model/transformer/row-selection.ts';
import { TensorBag } from '../../model/transformer/tensor-bag.ts';
import type { Transformer } from '../../model/transformer/transformer.ts';
import { checkLogitsArray, checkMask, checkTokens } from '../check-inputs.ts';
import { HeadCache } from './kv-cache.ts';
import { runChunk } from './session-chunk.ts';

/** Tokens of an internal prefill chunk. */
const DEFAULT_CHUNK_TOKENS = 256;

/** What a session needs of its engine. */
export interface SessionHost {
  readonly transformer: Transformer;
  /** Make the engine's backend current. @throws {EngineError} the engine is closed. */
  activate(): Promise<void>;
}

type CheckedOptions = { maxTokens: number; chunkTokens: number; chunked: boolean };

/** @throws {ConfigError} an option is out of range, or asks for a cache in another dtype than f32. */
export function openTensorflowSession(host: SessionHost, mask: HeadMask | 'full', options: SessionOptions): Session {
  const { config } = host.transformer;
  if (mask !== 'full') checkMask(mask, config.shape);
  const { maxTokens, chunkTokens = DEFAULT_CHUNK_TOKENS, kvDtype = 'f32' } = options;
  checkCount('maxTokens', maxTokens);
  checkCount('chunkTokens', chunkTokens);
  if (maxTokens > config.shape.maxPositions) {
    throw new ConfigError(
      `Expected \`maxTokens\` to be at most ${config.shape.maxPositions}, the longest text the model declares, got \`${maxTokens}\``,
    );
  }
  if (kvDtype !== 'f32') {
    throw new ConfigError(
      `Expected \`kvDtype\` to be f32 on the tensorflow engine, got \`${kvDtype}\`; the native engine has it`,
    );
  }
  const caches = Array.from({ length: config.shape.layers }, (_, layer) =>
    Array.from({ length: config.shape.kvHeads }, (_, kvHead) => {
      const recentTokens = mask === 'full' ? null : mask.windows[layer]![kvHead]!;
      const window = mask === 'full' || recentTokens === null ? null : { sinkTokens: mask.sinkTokens, recentTokens };
      return new HeadCache({ maxTokens, headDim: config.shape.headDim, window });
    }),
  );
  return new TensorflowSession(host, mask, {
    caches,
    length: 0,
    logits: null,
    options: { maxTokens, chunkTokens, chunked: options.prefill === 'chunked' },
  });
}

interface SessionState {
  readonly caches: HeadCache[][];
  readonly length: number;
  readonly logits: Float32Array | null;
  readonly options: CheckedOptions;
}

class TensorflowSession implements Session {
  readonly mask: HeadMask | 'full';
  readonly #host: SessionHost;
  readonly #options: CheckedOptions;
  #caches: HeadCache[][] | null;
  #length: number;
  #logits: Float32Array | null;
  #isBusy = false;

  constructor(host: SessionHost, mask: HeadMask | 'full', state: SessionState) {
    this.mask = mask;
    this.#host = host;
    this.#options = state.options;
    this.#caches = state.caches;
    this.#length = state.length;
    this.#logits = state.logits;
  }

  get length(): number {
    this.#requireOpen();
    return this.#length;
  }

  async prefill(
    tokens: ArrayLike<number>,
    options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
  ): Promise<Float32Array> {
    const { chunkTokens, chunked } = this.#options;
    return this.#exclusively(tokens, async () => {
      for (let done = 0; done < tokens.length; ) {
        const chunk = Array.prototype.slice.call(tokens, done, done + chunkTokens) as number[];
        done += chunk.length;
        const isLast = done === tokens.length;
        await this.#feed(chunk, { chunked, wantsLogits: isLast, signal: options.signal });
        options.onProgress?.(done, tokens.length);
      }
    });
  }

  async decode(token: number, into?: Float32Array): Promise<Float32Array> {
    checkLogitsArray(into, this.#host.transformer.config.shape);
    const logits = await this.#exclusively([token], () =>
      this.#feed([token], { chunked: false, wantsLogits: true, signal: undefined }),
    );
    if (into === undefined) return logits;
    into.set(logits);
    return into;
  }

  logits(): Float32Array {
    this.#requireOpen();
    if (this.#logits === null)
      throw new EngineError('Expected a session that has seen tokens, found an empty one; call prefill first');
    return this.#logits.slice();
  }

  async fork(): Promise<Session> {
    const caches = this.#requireOpen();
    this.#requireIdle();
    return new TensorflowSession(this.#host, this.mask, {
      caches: caches.map((layer) => layer.map((cache) => cache.clone())),
      length: this.#length,
      logits: this.#logits,
      options: this.#options,
    });
  }

  memory(): SessionMemory {
    const caches = this.#requireOpen();
    const { headDim } = this.#host.transformer.config.shape;
    const fullHeadBytes = 2 * this.#options.maxTokens * headDim * Float32Array.BYTES_PER_ELEMENT;
    return {
      kvDtype: 'f32',
      kvBytes: caches.flat().reduce((sum, cache) => sum + cache.byteLength, 0),
      fullKvBytes: caches.flat().length * fullHeadBytes,
      workspaceBytes: this.#logits?.byteLength ?? 0,
    };
  }

  async close(): Promise<void> {
    this.#caches = null;
    this.#logits = null;
  }

  /** Run `feed` alone and return the logits it left.
   * @throws {EngineError} closed, another call still running, or more tokens than the session holds; {FormatError} impossible tokens. */
  async #exclusively(tokens: ArrayLike<number>, feed: () => Promise<void>): Promise<Float32Array> {
    this.#requireOpen();
    this.#requireIdle();
    checkTokens(tokens, this.#host.transformer.config.shape);
    const { maxTokens } = this.#options;
    if (this.#length + tokens.length > maxTokens) {
      throw new EngineError(
        `Expected the session to stay within its ${maxTokens} tokens, got ${tokens.length} more after ${this.#length}; open it with a larger \`maxTokens\``,
      );
    }
    this.#isBusy = true;
    try {
      await this.#host.activate();
      await feed();
    } finally {
      this.#isBusy = false;
    }
    return this.logits();
  }

  async #feed(
    tokens: number[],
    options: { chunked: boolean; wantsLogits: boolean; signal: AbortSignal | undefined },
  ): Promise<void> {
    const caches = this.#requireOpen();
    const { transformer } = this.#host;
    const { maxTokens } = this.#options;
    const bag = new TensorBag();
    try {
      const input = { tokens, start: this.#length, caches, maxTokens, ...options };
      const { output, entries } = await runChunk(transformer, input, bag);
      const logits = options.wantsLogits ? readLogits(transformer, { output, row: tokens.length - 1, bag }) : null;
      this.#requireOpen();
      caches.forEach((layer, index) => {
        layer.forEach((cache, kvHead) => {
          cache.write(this.#length, entries[index]![kvHead]!);
        });
      });
      this.#length += tokens.length;
      this.#logits = logits;
    } finally {
      bag.close();
    }
  }

  #requireOpen(): HeadCache[][] {
    if (this.#caches === null) throw new EngineError('Expected an open session, found a closed one; open another');
    return this.#caches;
  }

  #requireIdle(): void {
    if (this.#isBusy) throw new EngineError('Expected one call on a session at a time; await the call before');
  }
}

/** Logits of one row of the last layer's output `[n, C]`. @returns `[vocab]`. */
function readLogits(
  transformer: Transformer,
  options: { output: tf.Tensor2D; row: number; bag: TensorBag },
): Float32Array {
  const { output, row, bag } = options;
  const head = transformer.vocabularyHead();
  const tensor = bag.compute(() => tf.matMul(normFinal(transformer, gatherRows(output, [row])), head));
  const logits = tensor.dataSync<'float32'>().slice();
  if (!logits.every((value) => Number.isFinite(value))) {
    throw new EngineError(
      "Expected every logit to be a finite number, found one that is not; check the model's weights",
    );
  }
  return logits;
}

function checkCount(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1) return;
  throw new ConfigError(`Expected \`${name}\` to be an integer of at least 1, got \`${value}\``);
}
