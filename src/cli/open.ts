// The flags --model, --engine, --device, --backend, --threads and --weights-on: what they name is opened by the library, what it says goes to stderr.
import type { Command } from 'commander';
import { nameAsFlag } from '../config/flags.ts';
import { formatBytes } from '../core/words.ts';
import type { Engine } from '../engine/engine.ts';
import {
  type Activations,
  type EngineChoice,
  type EngineName,
  type OpenEngineOptions,
  openEngine as openChosenEngine,
  type WeightStorage,
} from '../engine/open-engine.ts';
import { BACKEND_NAMES, type BackendName } from '../engine/tensorflow/backend-names.ts';
import { ConfigError } from '../errors/errors.ts';
import type { HubNeed } from '../hub/choose-files.ts';
import type { ModelFolder } from '../model/folder.ts';
import { openModel as openNamedModel } from '../model/open-model.ts';
import type { WeightPlace } from '../native/weight-place.ts';
import { makeProgress, type Progress } from './progress.ts';
import { say } from './terminal.ts';

export interface EngineFlags {
  readonly engine?: string;
  readonly device?: string;
  readonly backend?: string;
  readonly threads?: number;
  readonly activations?: string;
  readonly weights?: string;
  readonly weightsOn?: string;
}

/** Open what `--model` names, with a word on stderr of what is fetched and what is ignored; throws as the library's `openModel`. */
export async function openModel(
  name: string,
  options: { weights?: 'required' | 'optional'; need?: HubNeed; signal?: AbortSignal } = {},
): Promise<ModelFolder> {
  const lines: Progress[] = [];
  const update = (done: number, total: number): void => {
    if (lines.length === 0) lines.push(makeProgress(`fetch ${name}, MiB`));
    lines[0]?.update(Math.floor(done / 2 ** 20), Math.ceil(total / 2 ** 20));
  };
  try {
    return await openNamedModel(name, {
      ...options,
      onFetch: ({ bytes, repository, folder }) => {
        say(`duo: fetching ${formatBytes(bytes)} of ${repository} into ${folder}.`);
        update(0, bytes);
      },
      onProgress: update,
      onNote: (note) => say(`duo: ${note}.`),
    });
  } finally {
    lines[0]?.finish();
  }
}

const ONE_DEVICE = 'cpu or cuda:0';

/** Add --engine, --device, --backend, --threads and --weights-on to a command. @param devices what --device takes. */
export function addEngineOptions(command: Command, devices: string = ONE_DEVICE): Command {
  return command
    .option('--engine <name>', 'native (kernels/) or tensorflow (tfjs ops); default: native where its library loads')
    .option('--device <name>', `native engine only: ${devices}; default: the first GPU that can serve, else cpu`)
    .option('--backend <name>', `tensorflow engine only: ${BACKEND_NAMES.join(', ')}; default: the first that loads`)
    .option('--threads <n>', 'native engine on a CPU: threads; default: one for each CPU', parseThreads)
    .option(
      '--weights-on <place>',
      'on a GPU, weights of the layers: device, host (pinned, each layer copied while the one before it computes), or auto: on the device where they fit',
    );
}

/** Add --activations, for commands that generate or time: identify and eval always compute with float32. */
export function addActivationsOption(command: Command): Command {
  return command.option(
    '--activations <dtype>',
    'native engine on a CPU, GGUF weights in blocks: float32, or int8, faster and rounded',
    'float32',
  );
}

/** Add --weights, for commands that read a model's answers: identify widens every weight to bfloat16. */
export function addWeightsOption(command: Command): Command {
  return command.option(
    '--weights <storage>',
    'on a GPU: stored (GGUF blocks in 4 or 8 bits), bf16, int8 with a scale per row, or int4 in groups of 32',
    'stored',
  );
}

/** The flags as the library's options; their values are checked there, and named in errors as they were written. */
export function readEngineFlags(flags: EngineFlags): EngineChoice & { nameOption: (name: string) => string } {
  return {
    engine: flags.engine as EngineName | undefined,
    device: flags.device,
    backend: flags.backend as BackendName | undefined,
    threads: flags.threads,
    activations: flags.activations as Activations | undefined,
    weights: flags.weights as WeightStorage | undefined,
    weightsOn: flags.weightsOn as WeightPlace | undefined,
    nameOption: nameAsFlag,
  };
}

/** Open the engine the flags ask for; what was chosen without being asked for is said on stderr. Throws as the library's `openEngine`. */
export async function openEngine(
  folder: ModelFolder,
  flags: EngineFlags,
  options: Pick<OpenEngineOptions, 'next'> = {},
): Promise<Engine> {
  return openChosenEngine(folder, { ...readEngineFlags(flags), ...options, onNote: (note) => say(`duo: ${note}.`) });
}

function parseThreads(text: string): number {
  const threads = Number(text);
  if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
    throw new ConfigError(`Expected --threads to be an integer from 1 to 256, got \`${text}\`.`);
  }
  return threads;
}
