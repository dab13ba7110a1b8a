// Chooses and opens the engine that computes a model: what was asked for, else the native one where its library loads, else tensorflow;
// the native one on the device asked for, else on the first GPU that can serve, else on the CPU.
import { ConfigError, EngineError } from '../errors/errors.ts';
import type { ModelFolder } from '../model/folder.ts';
import { loadLibrary } from '../native/library.ts';
import type { NextPass } from '../native/model.ts';
import { WEIGHT_PLACES, type WeightPlace } from '../native/weight-place.ts';
import type { Engine } from './engine.ts';
import { BACKEND_NAMES, type BackendName } from './tensorflow/backend-names.ts';

export const ENGINE_NAMES = ['native', 'tensorflow'] as const;
/** What activations are rounded to before a product with quantised weights; float32 leaves them as they are. */
export const ACTIVATIONS = ['float32', 'int8'] as const;
/** Of every layer, what a GGUF file may hold in blocks. */
const QUANTIZABLE = ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.gate_proj', 'mlp.down_proj'];
const MAX_THREADS = 256;
/** Of a prefill chunk of the native engine on a GPU, unless a session asks for another (kernels/cuda/session.cu). */
export const GPU_CHUNK_TOKENS = 4096;
/** How a GPU holds the weights: as the files have them, GGUF blocks in 4 or 8 bits; all as bfloat16; 8 bits with a scale per row; 4 bits in groups of 32. */
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
  /** native on a CUDA device only; default auto */
  readonly weightsOn?: WeightPlace | undefined;
}

export interface OpenEngineOptions extends EngineChoice {
  /** tokens of the longest distillation step to come: a GPU chosen by default must have the memory for it */
  readonly distillTokens?: number | undefined;
  /** what a GPU must hold in addition to the weights; if both do not fit, the weights stay on the host; default: steps of `distillTokens` */
  readonly next?: NextPass | undefined;
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
  const { weightsOn = 'auto' } = options;
  if (weightsOn !== 'auto') checkPlace(weightsOn, options);
  if (engine === 'tensorflow' || backend !== undefined) return openTensorflow(folder, backend);
  const mustBeNative =
    engine === 'native' ||
    device !== undefined ||
    threads !== undefined ||
    roundsActivations ||
    weights !== 'stored' ||
    weightsOn !== 'auto';
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
  const { distillTokens } = options;
  const next =
    options.next ?? (distillTokens === undefined ? undefined : { pass: 'distill' as const, tokens: distillTokens });
  const open = async (on: string): Promise<Engine> => {
    const isGpu = on.startsWith('cuda');
    const weightDtype = isGpu ? onGpu : weights;
    if (weightDtype !== 'stored' && !isGpu) throw makeWeightsError(weights, { ...options, device: on });
    if (weightsOn !== 'auto' && !isGpu) throw makePlaceError(weightsOn, { ...options, device: on });
    const opened = await openNativeEngine(folder, {
      device: on,
      ...(weightDtype !== 'stored' && { weightDtype }),
      ...(isGpu && { weightsOn, ...(next !== undefined && { next }) }),
      ...(threads !== undefined && { threads }),
      ...(roundsActivations && { compute: 'int8' as const }),
    });
    const streamed = describeStreamed(opened);
    if (streamed !== null) onNote?.(streamed);
    return opened;
  };
  if (device !== undefined) return open(device);
  // Threads and rounded activations are the CPU's.
  if (threads !== undefined || roundsActivations) return open('cpu');
  const { openOnDefaultDevice } = await import('./native/default-device.ts');
  return openOnDefaultDevice({ open, distillTokens: options.distillTokens, onNote });
}

/** What of the weights is where, as a clause without a full stop; null where the device has them all. */
export function describeStreamed(engine: Engine): string | null {
  const streamed = engine.streamed?.() ?? null;
  if (streamed === null) return null;
  const [passBytes, deviceBytes] = [streamed.passBytes, streamed.deviceBytes].map(
    (bytes) => `${(bytes / 1e9).toFixed(2)} GB`,
  );
  return `the weights of the layers, ${passBytes}, are in pinned host memory, and each layer is copied to ${engine.device.split(' ')[0]} while the one before it computes; of weights the device holds ${deviceBytes}`;
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
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)) {
    throw new ConfigError(
      `Expected ${named('threads')} to be an integer from 1 to ${MAX_THREADS}, got \`${threads}\`.`,
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
  const { nameOption: named = nameInBackticks } = options;
  return new ConfigError(
    `Expected ${named('weights')} ${weights} only with the native engine on a CUDA device, got it with ${describeElsewhere(options)}, which has weights as they are stored; leave it out, or use a GGUF file in few bits.`,
  );
}

/** @throws {ConfigError} an unknown place, or an engine or device that computes from host memory. */
function checkPlace(weightsOn: WeightPlace, options: OpenEngineOptions): void {
  const { engine, device, backend, threads, activations, nameOption: named = nameInBackticks } = options;
  if (!WEIGHT_PLACES.includes(weightsOn)) {
    throw new ConfigError(
      `Expected ${named('weightsOn')} to be one of ${WEIGHT_PLACES.join(', ')}, got \`${weightsOn}\`.`,
    );
  }
  const isElsewhere =
    engine === 'tensorflow' || backend !== undefined || threads !== undefined || activations === 'int8';
  if (isElsewhere || (device !== undefined && !device.startsWith('cuda'))) throw makePlaceError(weightsOn, options);
}

function makePlaceError(weightsOn: WeightPlace, options: OpenEngineOptions): ConfigError {
  const { nameOption: named = nameInBackticks } = options;
  return new ConfigError(
    `Expected ${named('weightsOn')} ${weightsOn} only with the native engine on a CUDA device, got it with ${describeElsewhere(options)}, which has all weights in host memory; leave it out.`,
  );
}

/** What computes instead of a CUDA device. */
function describeElsewhere({ engine, device, backend }: OpenEngineOptions): string {
  if (engine === 'tensorflow' || backend !== undefined) return 'the tensorflow engine';
  return device === undefined ? 'an option of the CPU' : `device \`${device}\``;
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
