// A session of the `native` engine: the Session interface over the library's handle.
import { freemem, totalmem } from 'node:os';
import { countKvBytes } from '../../core/kv-cost.ts';
import type {
  KvDtype,
  Session,
  SessionHeld,
  SessionMemory,
  SessionOptions,
  TokenSampling,
} from '../../core/session.ts';
import type { HeadMask, ModelShape } from '../../core/shapes.ts';
import { ConfigError, EngineError, NativeError } from '../../errors/errors.ts';
import type { NativeModel } from '../../native/model.ts';
import { decodeBatch, type NativeSession, openSession } from '../../native/session.ts';
import { checkLogitsArray, checkMask, checkTokens } from '../check-inputs.ts';
import { flattenWindows } from './windows.ts';

/** @throws {ConfigError} an option out of range; {NativeError} a kvDtype the device has not, no memory. */
export async function openNativeSession(
  model: NativeModel,
  mask: HeadMask | 'full',
  { shape, options }: { shape: ModelShape; options: SessionOptions },
): Promise<Session> {
  if (mask !== 'full') checkMask(mask, shape);
  const { maxTokens, chunkTokens, kvDtype = 'f32', kvRotation = true, prefill = 'exact' } = options;
  checkCount('maxTokens', maxTokens);
  if (chunkTokens !== undefined) checkCount('chunkTokens', chunkTokens);
  const opening = openSession(model, {
    windows: mask === 'full' ? null : flattenWindows(mask.windows),
    sinkTokens: mask === 'full' ? 0 : mask.sinkTokens,
    maxTokens,
    kvDtype,
    kvRotation,
    prefill,
    chunkTokens: chunkTokens ?? 0,
  });
  try {
    return new NativeEngineSession(await opening, mask, { shape, maxTokens, kvDtype });
  } catch (cause) {
    const isRefused = cause instanceof NativeError && cause.status === 'MEMORY' && model.device.startsWith('cpu');
    if (!isRefused) throw cause;
    const needed = countKvBytes({ model: shape, mask, tokens: maxTokens, dtype: kvDtype, device: model.device });
    throw noRoomForCache({ needed, maxTokens, kvDtype });
  }
}

function noRoomForCache(cache: { needed: number; maxTokens: number; kvDtype: string }): NativeError {
  const [needed, free, total] = [cache.needed, freemem(), totalmem()].map((bytes) => (bytes / 2 ** 30).toFixed(1));
  return new NativeError(
    `Expected ${needed} GiB for the ${cache.kvDtype} cache of ${cache.maxTokens} tokens, got none: ${free} of the machine's ${total} GiB are free, or a limit of this process is reached; use fewer tokens (--max-new-tokens, --lengths, --contexts), a mask that streams more heads, or a smaller --kv-dtype.`,
    'MEMORY',
  );
}

/** One pass over the weights for several sessions. @throws {EngineError} a session of another engine, or counts that differ. */
export async function decodeNativeBatch(
  sessions: readonly Session[],
  tokens: readonly number[],
  into?: readonly Float32Array[],
): Promise<Float32Array[]> {
  if (sessions.length !== tokens.length) {
    throw new EngineError(`Expected one token for each of ${sessions.length} sessions, got ${tokens.length}`);
  }
  const natives = sessions.map((session, index) => {
    if (session instanceof NativeEngineSession) return session.requireRoom([tokens[index] as number], into?.[index]);
    throw new EngineError('Expected sessions of the native engine, got one of another engine');
  });
  await decodeBatch(natives, Int32Array.from(tokens));
  return natives.map((native, index) => native.logits(into?.[index]));
}

/** What a session was opened for. */
interface SessionPlan {
  readonly shape: ModelShape;
  readonly maxTokens: number;
  readonly kvDtype: KvDtype;
}

class NativeEngineSession implements Session {
  readonly mask: HeadMask | 'full';
  readonly #native: NativeSession;
  readonly #plan: SessionPlan;

  constructor(native: NativeSession, mask: HeadMask | 'full', plan: SessionPlan) {
    this.mask = mask;
    this.#native = native;
    this.#plan = plan;
  }

  get length(): number {
    return this.#native.length;
  }

  async prefill(
    tokens: ArrayLike<number>,
    options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
  ): Promise<Float32Array> {
    const native = this.requireRoom(tokens);
    await native.prefill(Int32Array.from(tokens), options);
    return native.logits();
  }

  async decode(token: number, into?: Float32Array): Promise<Float32Array> {
    const native = this.requireRoom([token], into);
    await native.decode(token);
    return native.logits(into);
  }

  async step(token: number, sampling: TokenSampling): Promise<number> {
    const native = this.requireRoom([token]);
    await native.decode(token);
    return native.sample(sampling);
  }

  logits(): Float32Array {
    return this.#native.logits();
  }

  async fork(): Promise<Session> {
    return new NativeEngineSession(await this.#native.fork(), this.mask, this.#plan);
  }

  memory(): SessionMemory {
    return { kvDtype: this.#plan.kvDtype, ...this.#native.memory() };
  }

  held(): SessionHeld {
    return this.#native.held();
  }

  async fill(length: number, seed: number): Promise<void> {
    await this.#native.fill(length, seed);
  }

  async close(): Promise<void> {
    this.#native.close();
  }

  /** The handle, once `tokens` are known to be the model's and to fit, and so is the array for logits. */
  requireRoom(tokens: ArrayLike<number>, into?: Float32Array): NativeSession {
    const { shape, maxTokens } = this.#plan;
    checkTokens(tokens, shape);
    checkLogitsArray(into, shape);
    const { length } = this;
    if (length + tokens.length > maxTokens) {
      throw new EngineError(
        `Expected at most ${maxTokens - length} more tokens (the session holds ${length} of ${maxTokens}), got ${tokens.length}; open one with a larger maxTokens`,
      );
    }
    return this.#native;
  }
}

function checkCount(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1) return;
  throw new ConfigError(`Expected \`${name}\` to be an integer of at least 1, got \`${value}\``);
}
