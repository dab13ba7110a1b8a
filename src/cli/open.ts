// Opens what --model, --engine and --device name: the model folder (or the demo's) and the engine that computes it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Engine } from '../engine/engine.ts';
import { openNativeEngine } from '../engine/native/native-engine.ts';
import { openTensorflowEngine } from '../engine/tensorflow/tensorflow-engine.ts';
import { ConfigError, EngineError } from '../errors/errors.ts';
import type { HubNeed } from '../hub/choose-files.ts';
import { parseHubName } from '../hub/hub-name.ts';
import { type ModelFolder, openModelFolder } from '../model/folder.ts';
import { loadLibrary } from '../native/library.ts';
import { readChoiceFlag } from './numbers.ts';
import { makeProgress } from './progress.ts';
import { formatBytes, say } from './terminal.ts';
import { findPackageRoot } from './version.ts';

const ENGINES = ['native', 'tensorflow'];
const BACKENDS = ['node-gpu', 'node', 'wasm', 'cpu'] as const;
type Backend = (typeof BACKENDS)[number];

export interface EngineFlags {
  readonly engine?: string;
  readonly device?: string;
  readonly backend?: string;
  readonly threads?: number;
  readonly activations?: string;
}

/** What activations are rounded to before a product with quantised weights; float32 leaves them as they are. */
const ACTIVATIONS = ['float32', 'int8'] as const;
/** Of every layer, what a GGUF file may hold in blocks. */
const QUANTIZABLE = ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.gate_proj', 'mlp.down_proj'];

/** Open what `--model` names: `demo` is the shipped model, then a folder or a GGUF file, then a name on the Hub (org/name[@revision][:quantisation]),
 * which is fetched into the cache of the Python tools where it is not there whole.
 * @param options.need of a Hub name: what is fetched; default all with weights, the tokenizer without.
 * @param options.signal stops a fetch; the next one goes on where it was.
 * @throws {ModelError} nothing there, or not a model that duo computes; {FormatError}; {FileError} a broken transfer, a full disk. */
export async function openModel(
  name: string,
  options: { weights?: 'required' | 'optional'; need?: HubNeed; signal?: AbortSignal } = {},
): Promise<ModelFolder> {
  const { weights = 'required' } = options;
  if (name === 'demo') return openModelFolder(join(findPackageRoot(), 'models', 'demo'), { weights });
  const hubName = existsSync(name) ? null : parseHubName(name);
  if (hubName === null) return sayNotes(openModelFolder(name, { weights }));
  // The Hub's client is loaded only where a name is one.
  const { fetchModel } = await import('../hub/fetch-model.ts');
  const progress = makeProgress(`fetch ${name}, MiB`);
  try {
    const fetched = await fetchModel(hubName, {
      need: options.need ?? (weights === 'required' ? 'weights' : 'tokenizer'),
      ...(options.signal && { signal: options.signal }),
      onFetch: ({ bytes, folder }) =>
        say(`duo: fetching ${formatBytes(bytes)} of ${hubName.repository} into ${folder}.`),
      onProgress: (done, total) => progress.update(Math.floor(done / 2 ** 20), Math.ceil(total / 2 ** 20)),
      onNote: (note) => say(`duo: ${note}`),
    });
    return sayNotes({ ...openModelFolder(fetched.path, { weights }), name: fetched.name });
  } finally {
    progress.finish();
  }
}

/** What the model's files say and duo ignores, on stderr. */
function sayNotes(folder: ModelFolder): ModelFolder {
  for (const note of folder.config.notes) say(`duo: ${note}.`);
  return folder;
}

/** Add --engine, --device, --backend and --threads to a command. */
export function addEngineOptions(command: Command): Command {
  return command
    .option('--engine <name>', 'native (kernels/) or tensorflow (tfjs ops); default: native where its library loads')
    .option('--device <name>', 'native engine only: cpu or cuda:0; default cpu')
    .option('--backend <name>', `tensorflow engine only: ${BACKENDS.join(', ')}; default: the first that loads`)
    .option('--threads <n>', 'native engine on a CPU: threads; default: one for each CPU', parseThreads);
}

/** Add --activations, for commands that generate or time: identify and eval always compute with float32. */
export function addActivationsOption(command: Command): Command {
  return command.option(
    '--activations <dtype>',
    'native engine on a CPU, GGUF weights in blocks: float32, or int8, faster and rounded',
    'float32',
  );
}

/** Open the engine the flags ask for. Without --engine the native one serves where its library loads, else tensorflow, and stderr says so.
 * @throws {ConfigError} flags that contradict each other; {EngineError} the engine asked for does not load. */
export async function openEngine(folder: ModelFolder, flags: EngineFlags): Promise<Engine> {
  if (flags.engine !== undefined && !ENGINES.includes(flags.engine)) {
    throw new ConfigError(`Expected --engine to be native or tensorflow, got \`${flags.engine}\`.`);
  }
  if (flags.backend !== undefined && !BACKENDS.includes(flags.backend as Backend)) {
    throw new ConfigError(`Expected --backend to be one of ${BACKENDS.join(', ')}, got \`${flags.backend}\`.`);
  }
  const roundsActivations =
    flags.activations !== undefined &&
    readChoiceFlag('--activations', { text: flags.activations, names: ACTIVATIONS }) === 'int8';
  if (roundsActivations) checkInt8Activations(folder, flags);
  if (flags.backend !== undefined && flags.engine === 'native') {
    throw new ConfigError('Expected --backend only with --engine tensorflow, got it with --engine native.');
  }
  if (flags.engine === 'tensorflow' || flags.backend !== undefined) {
    for (const flag of ['device', 'threads'] as const) {
      if (flags[flag] !== undefined) {
        throw new ConfigError(`Expected --${flag} only with --engine native, got it with the tensorflow engine.`);
      }
    }
    return openTensorflowEngine(folder, flags.backend ? { backend: flags.backend as Backend } : {});
  }
  const mustBeNative =
    flags.engine === 'native' || flags.device !== undefined || flags.threads !== undefined || roundsActivations;
  if (!mustBeNative) {
    const problem = describeLoadProblem();
    if (problem !== null) {
      say(`duo: the tensorflow engine computes, because the native library does not load: ${problem}`);
      return openTensorflowEngine(folder);
    }
  }
  return openNativeEngine(folder, {
    ...(flags.device !== undefined && { device: flags.device }),
    ...(flags.threads !== undefined && { threads: flags.threads }),
    ...(roundsActivations && { compute: 'int8' as const }),
  });
}

/** @throws {ConfigError} int8 activations would change nothing: another engine or device, or no weights in blocks. */
function checkInt8Activations(folder: ModelFolder, flags: EngineFlags): void {
  if (flags.engine === 'tensorflow' || flags.backend !== undefined) {
    throw new ConfigError('Expected --activations int8 only with --engine native, got it with the tensorflow engine.');
  }
  if (flags.device?.startsWith('cuda')) {
    throw new ConfigError(`Expected --activations int8 only with --device cpu, got it with \`${flags.device}\`.`);
  }
  const names = QUANTIZABLE.map((name) => `model.layers.0.${name}.weight`);
  const isQuantized = names.some((name) => /^Q\d/.test(folder.weights?.info(name).dtype ?? ''));
  if (!isQuantized) {
    throw new ConfigError(
      `Expected a GGUF file with weights in blocks (Q4_0 to Q6_K) for --activations int8, but the weights of ${folder.name} are not quantised; leave the flag out.`,
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

function parseThreads(text: string): number {
  const threads = Number(text);
  if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
    throw new ConfigError(`Expected --threads to be an integer from 1 to 256, got \`${text}\`.`);
  }
  return threads;
}
