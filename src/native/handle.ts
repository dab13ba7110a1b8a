// A handle of the native library: closed once, an error after that, never a crash.
import { EngineError } from '../errors/errors.ts';
import type { FunctionName } from './abi.ts';
import { call } from './call.ts';

/** One opaque handle. `Kind` brands it, so that a session's is no model's. */
export class NativeHandle<Kind extends 'model' | 'session'> {
  readonly kind: Kind;
  readonly #closer: FunctionName;
  #id: bigint | null;

  constructor(kind: Kind, id: bigint) {
    this.kind = kind;
    this.#id = id;
    this.#closer = kind === 'model' ? 'duo_model_close' : 'duo_session_close';
  }

  /** What crosses to the library. @throws {EngineError} closed. */
  get id(): bigint {
    if (this.#id === null) throw new EngineError(`Expected an open ${this.kind}, found a closed one; open another`);
    return this.#id;
  }

  /** May be called again. The library keeps what a running call still uses. */
  close(): void {
    const id = this.#id;
    if (id === null) return;
    this.#id = null;
    call(this.#closer, id);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
