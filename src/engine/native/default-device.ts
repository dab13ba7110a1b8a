// The default device of a native engine: the first usable CUDA device, else the CPU. A GPU that cannot be used is passed over
// with a message: too old, too little free memory, no driver for the library.
import { NativeError } from '../../errors/errors.ts';
import { hasNvidiaGpu, listDevices, measureDevice, type NativeDevice } from '../../native/devices.ts';
import type { Engine } from '../engine.ts';

/** What a GPU says when it cannot serve, though another device may. */
const PASSED_OVER = new Set(['CUDA', 'MEMORY', 'UNSUPPORTED']);

export interface DefaultDeviceOptions {
  /** opens the engine on `cuda:0`, … or `cpu` */
  readonly open: (device: string) => Promise<Engine>;
  /** tokens of the longest distillation step that must fit into the GPU's free memory; default: none is taken */
  readonly distillTokens?: number | undefined;
  /** a clause without a full stop: which GPU was passed over and why, which one computes */
  readonly onNote?: ((note: string) => void) | undefined;
}

/** Open an engine on the first GPU that can serve, else on the CPU. @throws what `open` throws for other reasons than the device. */
export async function openOnDefaultDevice(options: DefaultDeviceOptions): Promise<Engine> {
  const { open, onNote } = options;
  const { usable, problems } = sortGpus(listDevices(), { hasGpu: hasNvidiaGpu() });
  for (const problem of problems) onNote?.(problem);
  for (const gpu of usable) {
    const found = await tryGpu(gpu, options);
    if (typeof found !== 'string') {
      onNote?.(`${gpu.name} computes (${gpu.description})`);
      return found;
    }
    onNote?.(`${gpu.name} (${gpu.description}) is passed over: ${found}`);
  }
  return open('cpu');
}

/** GPUs that may serve, in order, and a clause for each that certainly cannot.
 * @param options.hasGpu the machine has a card; without one there is no message that none can be used. */
export function sortGpus(
  devices: readonly NativeDevice[],
  options: { readonly hasGpu: boolean },
): { usable: NativeDevice[]; problems: string[] } {
  const gpus = devices.filter(({ name }) => name.startsWith('cuda'));
  const problems = gpus.flatMap(({ name, available, description, reason }) => {
    if (available) return [];
    if (description !== '') return [`${name} (${description}) is passed over: ${reason}`];
    return options.hasGpu ? [`the GPU is passed over: ${reason}; \`duo doctor\` says what to do`] : [];
  });
  return { usable: gpus.filter(({ available }) => available), problems };
}

/** The engine, or why this GPU cannot serve. */
async function tryGpu(gpu: NativeDevice, { open, distillTokens }: DefaultDeviceOptions): Promise<Engine | string> {
  try {
    const freeBytes = await measureDevice('free-memory', { device: gpu.name });
    const engine = await open(gpu.name);
    const needed = distillTokens === undefined ? 0 : engine.estimate(distillTokens).memoryBytes;
    if (needed <= freeBytes) return engine;
    await engine.close();
    return `${showBytes(freeBytes)} of its memory are free, and a step of ${distillTokens} tokens needs ${showBytes(needed)}`;
  } catch (error) {
    if (!(error instanceof NativeError && PASSED_OVER.has(error.status))) throw error;
    return error.message.replace(/^Expected/, 'expected').replace(/\.$/, '');
  }
}

/** As the library's own messages: decimal units. */
function showBytes(bytes: number): string {
  return bytes < 1e9 ? `${(bytes * 1e-6).toFixed(1)} MB` : `${(bytes * 1e-9).toFixed(1)} GB`;
}
