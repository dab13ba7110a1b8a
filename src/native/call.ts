// Calls of the native library: a status that is not OK becomes an error, long work runs on a worker thread with progress and abort.
import { freemem, totalmem } from 'node:os';
import { AbortedError, NativeError } from '../errors/errors.ts';
import { type FunctionName, STATUS } from './abi.ts';
import { loadLibrary } from './library.ts';

export interface TaskOptions {
  readonly signal?: AbortSignal | undefined;
  /** in units of the call; at most every 50 ms, and once at the end */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Placeholder for the task argument of a `runCall`. */
export const TASK_ARGUMENT = Symbol('task');

const PROGRESS_MS = 50;
const ERROR_BYTES = 1024;

/** What worker threads use: koffi keeps no reference to an argument, and collected memory under a running call is a crash. */
const heldArguments = new Set<readonly unknown[]>();

/** Call at once, on this thread. Only for short calls. @throws {NativeError}. */
export function call(name: FunctionName, ...values: unknown[]): void {
  const { functions } = loadLibrary();
  const status = functions[name](...values) as number;
  if (status !== STATUS.OK) throw makeError(status, functions.duo_last_error() as string);
}

/** Call on a worker thread; one of `values` is TASK_ARGUMENT.
 * @throws {NativeError} a status that is not OK; {AbortedError} the signal, before or during the call. */
export async function runCall(
  name: FunctionName,
  values: readonly unknown[],
  options: TaskOptions = {},
): Promise<void> {
  if (options.signal?.aborted) throw new AbortedError('The work was stopped on request');
  const { functions } = loadLibrary();
  const handle = new BigUint64Array(1);
  call('duo_task_open', handle);
  const task = handle[0] as bigint;
  const abort = (): void => call('duo_task_abort', task);
  options.signal?.addEventListener('abort', abort, { once: true });
  const progress = options.onProgress && setInterval(() => reportProgress(task, options), PROGRESS_MS);
  try {
    const status = await callOnWorker(
      name,
      values.map((value) => (value === TASK_ARGUMENT ? task : value)),
    );
    if (status !== STATUS.OK) {
      const text = new Uint8Array(ERROR_BYTES);
      functions.duo_task_error(task, text, ERROR_BYTES);
      throw makeError(status, decodeText(text));
    }
    reportProgress(task, options);
  } finally {
    if (progress !== undefined) clearInterval(progress);
    options.signal?.removeEventListener('abort', abort);
    call('duo_task_close', task);
  }
}

function callOnWorker(name: FunctionName, values: readonly unknown[]): Promise<number> {
  const { functions } = loadLibrary();
  return new Promise((resolve, reject) => {
    heldArguments.add(values);
    functions[name].async(...values, (failure: unknown, status: number) => {
      heldArguments.delete(values);
      if (failure) reject(failure);
      else resolve(status);
    });
  });
}

function reportProgress(task: bigint, options: TaskOptions): void {
  if (options.onProgress === undefined) return;
  const done = new BigInt64Array(1);
  const total = new BigInt64Array(1);
  call('duo_task_progress', task, done, total);
  if (total[0] !== 0n) options.onProgress(Number(done[0]), Number(total[0]));
}

function makeError(status: number, text: string): NativeError | AbortedError {
  if (status === STATUS.ABORTED) return new AbortedError('The work was stopped on request');
  const name = Object.entries(STATUS).find(([, code]) => code === status)?.[0] ?? String(status);
  if (text === NO_MEMORY) return new NativeError(describeNoMemory(), name);
  return new NativeError(text || `The native library returned status ${name} without a text`, name);
}

/** The library's message when the system gave it no memory: it does not know what for, nor how much there is. */
const NO_MEMORY = 'the machine has no memory left for this call';

function describeNoMemory(): string {
  const [free, total] = [freemem(), totalmem()].map((bytes) => (bytes / 2 ** 30).toFixed(1));
  return `Expected memory for this step, got none: ${free} of the machine's ${total} GiB are free, or a limit of this process is reached; use shorter texts (--max-tokens, --lengths, --contexts), fewer at once, or a machine with more.`;
}

/** The text before the closing 0 of a buffer the library wrote. */
export function decodeText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end));
}
