// Chooses and opens the engine that computes a model: what was asked for, else the native one where its library loads, else tensorflow;
// the native one on the device asked for, else on the first GPU that can serve, else on the CPU.
import { ConfigError, EngineError } from '../errors/errors.ts';
import type { ModelFolder } from '../model/folder.ts';
import { loadLibrary } from '../native/library.ts';
import type { Engine } from './engine.ts';
import { BACKEND_NAMES, type BackendName } from './tensorflow/backend-names.ts';

export const ENGINE_NAMES = ['native', 'tensorflow'] as const;
/** What activations are rounded to before a product with quantised weights; float32 leaves them as they are. */
export const ACTIVATIONS = ['float32', 'int8'] as const;
/** Of every layer, what a GGUF file may hold in blocks. */
const QUANTIZABLE = ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.gate_proj', 'mlp.down_proj'];
const MOST_THREADS = 256;
/** How a GPU holds the weights: as the files have them, GGUF blocks in 4 or 8 bits; all as bfloat16; 8 bits with a scale a row; 4 bits in groups of 32. */
export const WEIGHT_STORAGES = ['stored', 'bf16', 'int8', 'int4'] as const;

export type EngineName = (typeof ENGINE_NAMES)[number];
export type Activations = (typeof ACTIVATIONS)[number];
export type WeightStorage = (typeof WEIGHT_STORAGES)[number];

/** What of an engine may be asked for; what is left out is chosen. */
export interface EngineChoice {
  /** default: native where its library loads */
  readonly engine?: EngineName | undefined;
  /** native only: `cpu` or `cuda:0`; default: the first CUDA device that can serve, else the CPU */
  readonly device?: string | undefined;
  /** tensorflow only; default: the first that loads */
  readonly backend?: BackendName | undefined;
  /** native on a CPU only; default: one for each CPU */
  readonly threads?: number | undefined;
  /** native on a CPU, weights in blocks only; default float32 */
  readonly activations?: Activations | undefined;
  /** native on a CUDA device only; default stored. A CPU has weights as they are stored. */
  readonly weights?: WeightStorage | undefined;
}

export interface OpenEngineOptions extends EngineChoice {
  /** tokens of the longest distillation step to come: a GPU that nobody named must have the memory for it */
  readonly distillTokens?: number | undefined;
  /** a GPU widens GGUF blocks to bfloat16: thousands of passes over them are faster so */
  readonly widensBlocks?: boolean | undefined;
  /** what was chosen without being asked for, and why; a clause without a full stop */
  readonly onNote?: ((note: string) => void) | undefined;
  /** how errors name an option; default: as here, in backticks */
  readonly nameOption?: ((name: string) => string) | undefined;
}

/** Open the engine asked for; it reads the weights of `folder` and does not need it open afterwards.
 * @throws {ConfigError} options that contradict each other; {EngineError} the engine asked for does not load; {ModelError} no weights. */
export async function openEngine(folder: ModelFolder, options: OpenEngineOptions = {}): Promise<Engine> {
  const { engine, device, backend, threads, onNote } = options;
  checkChoice(options);
  const roundsActivations = options.activations === 'int8';
  if (roundsActivations) checkInt8Activations(folder, options);
  const { weights = 'stored' } = options;
  if (weights !== 'stored') checkWeights(weights, options);
  if (engine === 'tensorflow' || backend !== undefined) return openTensorflow(folder, backend);
  const mustBeNative =
    engine === 'native' || device !== undefined || threads !== undefined || roundsActivations || weights !== 'stored';
  if (!mustBeNative) {
    const problem = describeLoadProblem();
    if (problem !== null) {
      onNote?.(
        `the tensorflow engine computes, because the native library does not load: ${problem.replace(/\.$/, '')}`,
      );
      return openTensorflow(folder);
    }
  }
  const { openNativeEngine } = await import('./native/native-engine.ts');
  const onGpu = options.widensBlocks && weights === 'stored' ? 'bf16' : weights;
  const open = (on: string): Promise<Engine> => {
    const weightDtype = on.startsWith('cuda') ? onGpu : weights;
    if (weightDtype !== 'stored' && !on.startsWith('cuda')) throw makeWeightsError(weights, { ...options, device: on });
    return openNativeEngine(folder, {
      device: on,
      ...(weightDtype !== 'stored' && { weightDtype }),
      ...(threads !== undefined && { threads }),
      ...(roundsActivations && { compute: 'int8' as const }),
    });
  };
  if (device !== undefined) return open(device);
  // Threads and rounded activations are the CPU's.
  if (threads !== undefined || roundsActivations) return open('cpu');
  const { openOnDefaultDevice } = await import('./native/default-device.ts');
  return openOnDefaultDevice({ open, distillTokens: options.distillTokens, onNote });
}

async function openTensorflow(folder: ModelFolder, backend?: BackendName): Promise<Engine> {
  const { openTensorflowEngine } = await import('./tensorflow/tensorflow-engine.ts');
  return openTensorflowEngine(folder, backend === undefined ? {} : { backend });
}

const nameInBackticks = (name: string): string => `\`${name}\``;

/** Each option by itself, and those that exclude each other. @throws {ConfigError}. */
function checkChoice(options: OpenEngineOptions): void {
  const { engine, backend, threads, activations, nameOption: named = nameInBackticks } = options;
  if (engine !== undefined && !ENGINE_NAMES.includes(engine)) {
    throw new ConfigError(`Expected ${named('engine')} to be native or tensorflow, got \`${engine}\`.`);
  }
  if (backend !== undefined && !BACKEND_NAMES.includes(backend)) {
    throw new ConfigError(`Expected ${named('backend')} to be one of ${BACKEND_NAMES.join(', ')}, got \`${backend}\`.`);
  }
  if (activations !== undefined && !ACTIVATIONS.includes(activations)) {
    throw new ConfigError(
      `Expected ${named('activations')} to be one of ${ACTIVATIONS.join(', ')}, got \`${activations}\`.`,
    );
  }
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS)) {
    throw new ConfigError(
      `Expected ${named('threads')} to be an integer from 1 to ${MOST_THREADS}, got \`${threads}\`.`,
    );
  }
  if (backend !== undefined && engine === 'native') {
    throw new ConfigError(
      `Expected ${named('backend')} only with ${named('engine')} tensorflow, got it with ${named('engine')} native.`,
    );
  }
  if (engine !== 'tensorflow' && backend === undefined) return;
  for (const name of ['device', 'threads'] as const) {
    if (options[name] === undefined) continue;
    throw new ConfigError(
      `Expected ${named(name)} only with ${named('engine')} native, got it with the tensorflow engine.`,
    );
  }
}

/** @throws {ConfigError} an unknown storage, or an engine or device that has weights as they are stored. */
function checkWeights(weights: WeightStorage, options: OpenEngineOptions): void {
  const { engine, device, backend, threads, activations, nameOption: named = nameInBackticks } = options;
  if (!WEIGHT_STORAGES.includes(weights)) {
    throw new ConfigError(
      `Expected ${named('weights')} to be one of ${WEIGHT_STORAGES.join(', ')}, got \`${weights}\`.`,
    );
  }
  const isElsewhere =
    engine === 'tensorflow' || backend !== undefined || threads !== undefined || activations === 'int8';
  if (isElsewhere || (device !== undefined && !device.startsWith('cuda'))) throw makeWeightsError(weights, options);
}

function makeWeightsError(weights: WeightStorage, options: OpenEngineOptions): ConfigError {
  const { engine, device, backend, nameOption: named = nameInBackticks } = options;
  const where =
    engine === 'tensorflow' || backend !== undefined
      ? 'the tensorflow engine'
      : device === undefined
        ? 'an option of the CPU'
        : `device \`${device}\``;
  return new ConfigError(
    `Expected ${named('weights')} ${weights} only with the native engine on a CUDA device, got it with ${where}, which has weights as they are stored; leave it out, or use a GGUF file in few bits.`,
  );
}

/** @throws {ConfigError} int8 activations would change nothing: another engine or device, or no weights in blocks. */
function checkInt8Activations(folder: ModelFolder, options: OpenEngineOptions): void {
  const { engine, device, backend, nameOption: named = nameInBackticks } = options;
  const asked = `${named('activations')} int8`;
  if (engine === 'tensorflow' || backend !== undefined) {
    throw new ConfigError(`Expected ${asked} only with ${named('engine')} native, got it with the tensorflow engine.`);
  }
  if (device?.startsWith('cuda')) {
    throw new ConfigError(`Expected ${asked} only with ${named('device')} cpu, got it with \`${device}\`.`);
  }
  const names = QUANTIZABLE.map((name) => `model.layers.0.${name}.weight`);
  const isQuantized = names.some((name) => /^Q\d/.test(folder.weights?.info(name).dtype ?? ''));
  if (!isQuantized) {
    throw new ConfigError(
      `Expected a GGUF file with weights in blocks (Q4_0 to Q6_K) for ${asked}, but the weights of ${folder.name} are not quantised; leave it out.`,
    );
  }
}

/** Why the native library cannot be used here; null where it loads. */
function describeLoadProblem(): string | null {
  try {
    loadLibrary();
    return null;
  } catch (error) {
    if (error instanceof EngineError) return error.message;
    throw error;
  }
}
