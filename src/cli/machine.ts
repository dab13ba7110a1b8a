// What this machine can run and what is missing: Node, the tfjs backends, the native library with its devices, the tools that build it.
import { spawnSync } from 'node:child_process';
import { arch, availableParallelism, cpus, platform, totalmem } from 'node:os';
import { openBackend } from '../engine/tensorflow/backend.ts';
import { BACKEND_NAMES, type BackendName } from '../engine/tensorflow/backend-names.ts';
import { hasNvidiaGpu, listDevices, type NativeDevice } from '../native/devices.ts';
import { findLibrary, loadLibrary } from '../native/library.ts';

export interface BackendReport {
  readonly name: BackendName;
  readonly works: boolean;
  /** device where it works, else why not and what to do */
  readonly detail: string;
}

export interface ToolReport {
  readonly name: string;
  /** first line of --version, null where it is absent */
  readonly version: string | null;
}

export interface MachineReport {
  readonly node: { readonly version: string; readonly isSupported: boolean };
  readonly system: {
    readonly platform: string;
    readonly arch: string;
    readonly cpu: string;
    readonly threads: number;
    readonly memoryBytes: number;
  };
  readonly tensorflow: readonly BackendReport[];
  readonly native: {
    readonly path: string | null;
    readonly works: boolean;
    readonly detail: string;
    readonly devices: readonly NativeDevice[];
  };
  readonly tools: readonly ToolReport[];
  /** one sentence each: what is missing and how to get it */
  readonly advice: readonly string[];
}

/** Oldest Node that works, as package.json's `engines` says. */
const OLDEST_NODE: readonly [number, number] = [20, 19];
const TOOLS: readonly [name: string, ...values: string[]][] = [
  ['c++', '--version'],
  ['g++', '--version'],
  ['clang++', '--version'],
  ['cmake', '--version'],
  ['ninja', '--version'],
  ['make', '--version'],
  ['nvcc', '--version'],
];

/** Look at everything; takes seconds, because each backend is loaded. Never throws for what is missing. */
export async function inspectMachine(): Promise<MachineReport> {
  const version = process.versions.node;
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isSupported = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
  const native = inspectNative();
  const tensorflow: BackendReport[] = [];
  for (const name of BACKEND_NAMES) tensorflow.push(await inspectBackend(name));
  const tools = TOOLS.map(([name, ...values]) => ({ name, version: readToolVersion(name, values) }));
  return {
    node: { version, isSupported },
    system: {
      platform: platform(),
      arch: arch(),
      cpu: cpus()[0]?.model ?? 'unknown',
      threads: availableParallelism(),
      memoryBytes: totalmem(),
    },
    tensorflow,
    native,
    tools,
    advice: listAdvice({ isSupported, version, native, tools }),
  };
}

async function inspectBackend(name: BackendName): Promise<BackendReport> {
  try {
    const { device } = await openBackend(name);
    return { name, works: true, detail: device };
  } catch (error) {
    return { name, works: false, detail: (error as Error).message };
  }
}

function inspectNative(): MachineReport['native'] {
  const { path, reason } = findLibrary();
  if (path === null) return { path, works: false, detail: reason, devices: [] };
  try {
    loadLibrary();
    const devices = listDevices();
    return { path, works: true, detail: devices.find(({ available }) => available)?.description ?? '', devices };
  } catch (error) {
    return { path, works: false, detail: (error as Error).message, devices: [] };
  }
}

/** The line of a tool's output that carries a version number. */
function readToolVersion(name: string, values: readonly string[]): string | null {
  const { status, stdout } = spawnSync(name, values, { encoding: 'utf8', timeout: 10_000 });
  if (status !== 0) return null;
  const lines = stdout.split('\n').map((line) => line.trim());
  return (
    lines.findLast((line) => /release \d/.test(line)) ?? lines.find((line) => /\d+\.\d+/.test(line)) ?? lines[0] ?? ''
  );
}

function listAdvice(found: {
  isSupported: boolean;
  version: string;
  native: MachineReport['native'];
  tools: readonly ToolReport[];
}): string[] {
  const has = (...names: string[]): boolean =>
    found.tools.some((tool) => names.includes(tool.name) && tool.version !== null);
  const advice: string[] = [];
  if (!found.isSupported) {
    advice.push(`Node ${found.version} is too old: install ${OLDEST_NODE.join('.')} or newer.`);
  }
  if (!found.native.works) {
    const missing = [
      has('c++', 'g++', 'clang++') ? '' : 'a C++17 compiler (Debian: g++)',
      has('cmake') ? '' : 'CMake 3.20 or newer (Debian: cmake)',
      has('make', 'ninja') ? '' : 'Make or Ninja (Debian: make)',
    ].filter((tool) => tool !== '');
    const first = missing.length === 0 ? '' : `install ${missing.join(', ')}, then `;
    advice.push(`The native engine is not here: ${first}run \`duo build\`. Until then the tensorflow engine serves.`);
  }
  if (found.native.works)
    advice.push(...adviseOnGpus(found.native.devices, { hasGpu: hasNvidiaGpu(), hasNvcc: has('nvcc') }));
  return advice;
}

/** What keeps the machine's GPUs from computing; nothing where there is none, or one can be used. */
export function adviseOnGpus(
  devices: readonly NativeDevice[],
  machine: { readonly hasGpu: boolean; readonly hasNvcc: boolean },
): string[] {
  const gpus = devices.filter(({ name }) => name.startsWith('cuda'));
  const [first] = gpus;
  if (gpus.some(({ available }) => available) || first === undefined) return [];
  if (first.description !== '') return [`No GPU can be used: ${first.name} (${first.description}): ${first.reason}.`];
  if (!machine.hasGpu) return [];
  if (!first.reason.includes('built without CUDA')) {
    return [`No GPU can be used: ${first.reason}; install a newer NVIDIA driver.`];
  }
  const step = machine.hasNvcc ? '' : 'install the CUDA toolkit (nvcc), then ';
  return [`An NVIDIA GPU is here, but the native library was built without CUDA: ${step}run \`duo build --cuda\`.`];
}
