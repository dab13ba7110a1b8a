// The session interface: one running text with its KV cache. Engines implement it, src/runtime drives it.
import type { HeadMask } from './shapes.ts';

/** How streaming heads see the tokens of one prefill call: token-exact (default), or the reference's chunk-causal variant. */
export type PrefillSemantics = 'exact' | 'chunked';

/** Storage of cached keys and values. */
export type KvDtype = (typeof KV_DTYPES)[number];

/** Every storage, widest first. `k8v4` keeps keys as int8 does and values as int4 does: a rounded key moves the weight of every value, a rounded value
 * only its own share, so values bear 4 bits where keys do not. */
export const KV_DTYPES = ['f32', 'bf16', 'int8', 'fp8', 'k8v4', 'int4'] as const;

/** True where a storage rounds head vectors to codes with a scale: what `kvRotation` is for. */
export const isQuantizedKv = (dtype: KvDtype): boolean => dtype !== 'f32' && dtype !== 'bf16';

export interface SessionOptions {
  /** T_max: most tokens the session can hold (prompt and generated). */
  readonly maxTokens: number;
  readonly prefill?: PrefillSemantics;
  readonly kvDtype?: KvDtype;
  /** int8, fp8, k8v4 and int4: keys and values are rounded after an orthonormal Walsh–Hadamard transform of each head vector, which spreads outliers over
   * all of it; queries and attention's output are transformed to match. Default true; f32 and bf16 are never transformed. */
  readonly kvRotation?: boolean;
  /** tokens per internal prefill chunk; results do not depend on it when prefill is exact */
  readonly chunkTokens?: number;
}

/** Bytes of a session. */
export interface SessionMemory {
  /** storage of cached keys and values, also where the engine chose it */
  readonly kvDtype: KvDtype;
  /** of cached keys and values, scales included, once `maxTokens` are held */
  readonly kvBytes: number;
  /** what kvBytes would be with every head full */
  readonly fullKvBytes: number;
  /** activations and scratch */
  readonly workspaceBytes: number;
}

/** What a session holds now, where memory is taken as its text grows. */
export interface SessionHeld {
  /** of cached keys and values that there is memory for */
  readonly kvBytes: number;
  /** of these, in pages that forks have too */
  readonly sharedBytes: number;
  /** tokens that could be fed now, up to `maxTokens`; other sessions may take the memory first */
  readonly roomTokens: number;
}

/** How a token is drawn; `checkSampling` of src/runtime makes one from options. */
export interface TokenSampling {
  /** 0 = greedy, the lowest id on a tie */
  readonly temperature: number;
  /** 0 = all */
  readonly topK: number;
  /** 1 = all */
  readonly topP: number;
  readonly seed: number;
}

/** One text in progress. Not usable after `close`; all methods then throw EngineError. */
export interface Session {
  readonly mask: HeadMask | 'full';
  /** tokens seen so far */
  readonly length: number;
  /** Feed tokens; returns the logits after the last one, `[vocab]` fp32 (a copy). */
  prefill(
    tokens: ArrayLike<number>,
    options?: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void },
  ): Promise<Float32Array>;
  /** Feed one token; returns the logits after it, `[vocab]` fp32 (a copy): `into`, where that is given, which spares a loop
   * a new array of half a megabyte per token. */
  decode(token: number, into?: Float32Array): Promise<Float32Array>;
  /** Feed one token and draw the next, where the engine can: on its device, so that only the token crosses. Draws what `sampleToken` draws from the
   * logits after `token`. */
  step?(token: number, sampling: TokenSampling): Promise<number>;
  /** Logits after the last token fed. */
  logits(): Float32Array;
  /** An independent session with the same state. On a GPU it shares the parent's pages until one of both writes to one. */
  fork(): Promise<Session>;
  memory(): SessionMemory;
  /** What it holds now, where the engine can say so: on a GPU a full head's memory is taken in pages of 256 tokens as the text grows. */
  held?(): SessionHeld;
  /** For benches, where the engine can: act as if `length` tokens had been fed, with seeded random keys and values of unit scale.
   * Logits are absent until the next token. */
  fill?(length: number, seed: number): Promise<void>;
  close(): Promise<void>;
}
