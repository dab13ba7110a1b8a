// A session of the native library: prefill, decode, sample, fork. One call at a time; the library serialises what comes at once.

import type { TokenSampling } from '../core/session.ts';
import { DTYPE, KV_ROTATION, PREFILL } from './abi.ts';
import { call, runCall, TASK_ARGUMENT, type TaskOptions } from './call.ts';
import { NativeHandle } from './handle.ts';
import type { NativeModel } from './model.ts';

export interface SessionOpenOptions {
  /** `[L·G]`, 0 = the whole context, w = the w nearest tokens; null = every head full */
  readonly windows: BigInt64Array | null;
  readonly sinkTokens: number;
  /** T_max */
  readonly maxTokens: number;
  readonly kvDtype: keyof typeof KV_DTYPES;
  /** of no effect on f32 and bf16 */
  readonly kvRotation: boolean;
  readonly prefill: 'exact' | 'chunked';
  /** 0 = the library chooses */
  readonly chunkTokens: number;
}

const KV_DTYPES = {
  f32: DTYPE.F32,
  bf16: DTYPE.BF16,
  int8: DTYPE.INT8,
  fp8: DTYPE.FP8,
  k8v4: DTYPE.K8V4,
  int4: DTYPE.INT4,
} as const;
const PREFILLS = { exact: PREFILL.EXACT, chunked: PREFILL.CHUNKED } as const;

/** An open session. All methods throw EngineError after close. */
export class NativeSession {
  readonly handle: NativeHandle<'session'>;
  readonly #vocab: number;

  constructor(id: bigint, vocab: number) {
    this.handle = new NativeHandle('session', id);
    this.#vocab = vocab;
  }

  /** tokens fed so far */
  get length(): number {
    const length = new BigInt64Array(1);
    call('duo_session_length', this.handle.id, length);
    return Number(length[0]);
  }

  /** Feed tokens; an abort or failure leaves the chunks that were finished. @throws {NativeError}; {AbortedError}. */
  async prefill(tokens: Int32Array, options: TaskOptions = {}): Promise<void> {
    await runCall('duo_session_prefill', [this.handle.id, tokens, tokens.length, TASK_ARGUMENT], options);
  }

  async decode(token: number): Promise<void> {
    await runCall('duo_session_decode', [this.handle.id, token, TASK_ARGUMENT]);
  }

  /** `[V]`, after the last token, written to `into` or a new array. @throws {NativeError} before any token. */
  logits(into?: Float32Array): Float32Array {
    const logits = into ?? new Float32Array(this.#vocab);
    call('duo_session_logits', this.handle.id, logits, logits.length);
    return logits;
  }

  /** Draw a token from the logits; the session is not changed. */
  sample({ temperature, topK, topP, seed }: TokenSampling): number {
    const token = new Int32Array(1);
    call('duo_session_sample', this.handle.id, temperature, topK, topP, seed, token);
    return token[0] as number;
  }

  /** Sample and feed `count` tokens, fewer where a stop token is drawn (written last, not fed). */
  async generate(
    count: number,
    { temperature, topK, topP, seed, stopTokens = [] }: TokenSampling & { stopTokens?: readonly number[] },
    options: TaskOptions = {},
  ): Promise<Int32Array> {
    const stops = Int32Array.from(stopTokens);
    const tokens = new Int32Array(count);
    const numGenerated = new BigInt64Array(1);
    const sampling = [temperature, topK, topP, seed, stops, stops.length];
    const values = [this.handle.id, count, ...sampling, TASK_ARGUMENT, tokens, numGenerated];
    await runCall('duo_session_generate', values, options);
    return tokens.slice(0, Number(numGenerated[0]));
  }

  async fork(): Promise<NativeSession> {
    const id = new BigUint64Array(1);
    await runCall('duo_session_fork', [this.handle.id, TASK_ARGUMENT, id]);
    return new NativeSession(id[0] as bigint, this.#vocab);
  }

  memory(): { kvBytes: number; fullKvBytes: number; workspaceBytes: number } {
    const [kv, full, workspace] = [new BigInt64Array(1), new BigInt64Array(1), new BigInt64Array(1)];
    call('duo_session_memory', this.handle.id, kv, full, workspace);
    return { kvBytes: Number(kv[0]), fullKvBytes: Number(full[0]), workspaceBytes: Number(workspace[0]) };
  }

  /** What is held of `kvBytes` now, and the tokens that could still be fed. */
  held(): { kvBytes: number; sharedBytes: number; roomTokens: number } {
    const [kv, shared, room] = [new BigInt64Array(1), new BigInt64Array(1), new BigInt64Array(1)];
    call('duo_session_held', this.handle.id, kv, shared, room);
    return { kvBytes: Number(kv[0]), sharedBytes: Number(shared[0]), roomTokens: Number(room[0]) };
  }

  async fill(length: number, seed: number): Promise<void> {
    await runCall('duo_session_fill', [this.handle.id, length, seed, TASK_ARGUMENT]);
  }

  close(): void {
    this.handle.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Open an empty session of a model. @throws {NativeError} kvDtype not on this device, no memory; {EngineError} the model is closed. */
export async function openSession(model: NativeModel, options: SessionOpenOptions): Promise<NativeSession> {
  const id = new BigUint64Array(1);
  const { windows, sinkTokens, maxTokens, chunkTokens } = options;
  const rotation = options.kvRotation ? KV_ROTATION.ON : KV_ROTATION.OFF;
  const storage = [maxTokens, KV_DTYPES[options.kvDtype], rotation, PREFILLS[options.prefill], chunkTokens];
  const values = [model.handle.id, windows, sinkTokens, ...storage, TASK_ARGUMENT, id];
  await runCall('duo_session_open', values);
  return new NativeSession(id[0] as bigint, model.config.vocab);
}

/** Feed one token to each of several different sessions of one model in one pass over the weights. */
export async function decodeBatch(sessions: readonly NativeSession[], tokens: Int32Array): Promise<void> {
  const ids = BigUint64Array.from(sessions, (session) => session.handle.id);
  await runCall('duo_session_decode_batch', [ids, tokens, sessions.length, TASK_ARGUMENT]);
}
