// What the native library finds on this machine: devices and their measured rates.
import { readdirSync } from 'node:fs';
import { MEASURE } from './abi.ts';
import { call, decodeText, runCall, TASK_ARGUMENT, type TaskOptions } from './call.ts';

export interface NativeDevice {
  /** `cpu`, `cuda:0` */
  readonly name: string;
  readonly description: string;
  readonly memoryBytes: number;
  readonly available: boolean;
  /** why it is not available, else empty */
  readonly reason: string;
  /** instruction sets, or compute capability */
  readonly features: readonly string[];
}

export type Measure =
  | 'read-bandwidth'
  | 'copy-bandwidth'
  | 'matmul-f32'
  | 'matmul-bf16'
  | 'free-memory'
  | 'upload-bandwidth';

const MEASURES: Record<Measure, number> = {
  'read-bandwidth': MEASURE.READ_BANDWIDTH,
  'copy-bandwidth': MEASURE.COPY_BANDWIDTH,
  'matmul-f32': MEASURE.MATMUL_F32,
  'matmul-bf16': MEASURE.MATMUL_BF16,
  'free-memory': MEASURE.FREE_MEMORY,
  'upload-bandwidth': MEASURE.UPLOAD_BANDWIDTH,
};

/** Where the NVIDIA driver lists its cards (Linux). */
const DRIVER_FOLDER = '/proc/driver/nvidia/gpus';

/** A description is far shorter; the header promises that this suffices. */
const JSON_BYTES = 4096;

/** All devices, `cpu` first; a machine without a GPU has a `cuda:0` that says why. @throws {EngineError} the library does not load. */
export function listDevices(): NativeDevice[] {
  const count = new Int32Array(1);
  call('duo_device_count', count);
  return Array.from({ length: count[0] as number }, (_, index) => {
    const json = new Uint8Array(JSON_BYTES);
    call('duo_device_describe', index, json, JSON_BYTES);
    return JSON.parse(decodeText(json)) as NativeDevice;
  });
}

/** Measure a device, about a second; `free-memory` of a CUDA device at once.
 * @returns bytes or operations a second, or bytes. @throws {NativeError} no such device. */
export async function measureDevice(
  measure: Measure,
  options: { device?: string; threads?: number } & TaskOptions = {},
): Promise<number> {
  const rate = new Float64Array(1);
  const values = [options.device ?? 'cpu', options.threads ?? 0, MEASURES[measure], TASK_ARGUMENT, rate];
  await runCall('duo_device_measure', values, options);
  return rate[0] as number;
}

/** True where the driver has an NVIDIA card, whatever the library can do with it. */
export function hasNvidiaGpu(): boolean {
  try {
    return readdirSync(DRIVER_FOLDER).length > 0;
  } catch {
    return false;
  }
}
