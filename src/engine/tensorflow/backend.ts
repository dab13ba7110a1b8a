// Which tfjs backend computes: tfjs-node-gpu, tfjs-node, wasm, plain JS, best first.
// tfjs has one engine and one current backend for the whole process; code that computes first activates the one it needs.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { ConfigError, EngineError } from '../../errors/errors.ts';
import { BACKEND_NAMES, type BackendName } from './backend-names.ts';

export interface Backend {
  readonly name: BackendName;
  /** for run.json, for example `tfjs-wasm (simd)` */
  readonly device: string;
  /** backends that were tried before and what kept them from loading; absent optional packages are not listed */
  readonly notes: readonly string[];
  /** Make this the current backend of the process. */
  activate(): Promise<void>;
}

/** Packages of the native backends; optional peers, so an absent one is no fault. */
const PEERS = { 'node-gpu': '@tensorflow/tfjs-node-gpu', node: '@tensorflow/tfjs-node' } as const;

const require = createRequire(import.meta.url);

/** Load the best backend that works, or the one asked for.
 * @throws {ConfigError} unknown name, or its package is not installed; {EngineError} the one asked for does not load. */
export async function openBackend(name?: BackendName): Promise<Backend> {
  if (name !== undefined && !BACKEND_NAMES.includes(name)) {
    throw new ConfigError(`Expected \`backend\` to be one of ${BACKEND_NAMES.join(', ')}, got \`${name}\``);
  }
  // tfjs prints a banner and advice on the console unless its PROD flag is set.
  tf.env().set('PROD', true);
  const notes: string[] = [];
  for (const candidate of name === undefined ? BACKEND_NAMES : [name]) {
    if (isPeer(candidate) && !isInstalled(PEERS[candidate])) {
      if (name === undefined) continue;
      throw new ConfigError(
        `Expected ${PEERS[candidate]} to be installed for backend \`${name}\`; run \`npm install ${PEERS[candidate]}\``,
      );
    }
    try {
      return { name: candidate, notes, ...(await LOADERS[candidate]()) };
    } catch (cause) {
      const note = `tfjs backend ${candidate} is installed but does not load: ${firstLine(cause)}`;
      if (name !== undefined) throw new EngineError(note, { cause });
      notes.push(note);
    }
  }
  throw new EngineError(`Expected one tfjs backend to load, found none: ${notes.join('; ')}`);
}

type LoadedBackend = Pick<Backend, 'device' | 'activate'>;

const LOADERS: Record<BackendName, () => Promise<LoadedBackend>> = {
  'node-gpu': () => loadPeer(PEERS['node-gpu'], 'tfjs-node-gpu'),
  node: () => loadPeer(PEERS.node, 'tfjs-node'),
  wasm: loadWasm,
  cpu: loadCpu,
};

async function loadPeer(specifier: string, label: string): Promise<LoadedBackend> {
  // tfjs-node 4.22 calls a function that Node 23 removed.
  const legacy = util as { isNullOrUndefined?: (value: unknown) => boolean };
  legacy.isNullOrUndefined ??= (value) => value === null || value === undefined;
  // libtensorflow logs to stderr unless this is set before it loads: 2 keeps errors only.
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  await import(specifier);
  await activateBackend('tensorflow');
  const binding = tf.backend() as { isUsingGpuDevice?: boolean };
  return {
    device: `${label} (${binding.isUsingGpuDevice === true ? 'gpu' : 'cpu'})`,
    activate: () => activateBackend('tensorflow'),
  };
}

async function loadWasm(): Promise<LoadedBackend> {
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm')), '/'));
  const events = ['uncaughtException', 'unhandledRejection'] as const;
  const before = events.map((event) => process.listeners(event as 'uncaughtException'));
  await activateBackend('wasm');
  // The loader adds process-wide handlers that rethrow; how an error ends the process is not for it to decide.
  events.forEach((event, index) => {
    for (const listener of process.listeners(event as 'uncaughtException')) {
      if (!before[index]?.includes(listener)) process.removeListener(event, listener);
    }
  });
  const simd = (await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')) === true;
  return { device: `tfjs-wasm (${simd ? 'simd' : 'no simd'})`, activate: () => activateBackend('wasm') };
}

async function loadCpu(): Promise<LoadedBackend> {
  await import('@tensorflow/tfjs-backend-cpu');
  await activateBackend('cpu');
  return { device: 'tfjs-cpu (plain JavaScript)', activate: () => activateBackend('cpu') };
}

async function activateBackend(name: string): Promise<void> {
  if (tf.getBackend() === name) return;
  if (!(await tf.setBackend(name)))
    throw new EngineError(`Expected tfjs to accept its backend \`${name}\`, it refused`);
}

function isPeer(name: BackendName): name is keyof typeof PEERS {
  return name in PEERS;
}

function isInstalled(specifier: string): boolean {
  try {
    require.resolve(specifier);
    return true;
  } catch {
    return false;
  }
}

function firstLine(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  return text.split('\n')[0] ?? text;
}
