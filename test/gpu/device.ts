// The GPU that tests here run on: device cuda:0 of the loaded library. Without one they are skipped by name, and fail where REQUIRE_GPU=1.
// DUO_NATIVE_LIBRARY=kernels/build-emulation/libduo.so runs them on the emulated device.
import { describe, test } from 'vitest';
import { listDevices, type NativeDevice } from '../../src/native/devices.ts';

export const DEVICE = 'cuda:0';

function findGpu(): { gpu: NativeDevice | undefined; reason: string } {
  try {
    const gpu = listDevices().find(({ name }) => name === DEVICE);
    return { gpu: gpu?.available ? gpu : undefined, reason: gpu?.reason ?? `no device ${DEVICE}` };
  } catch (error) {
    return { gpu: undefined, reason: (error as Error).message };
  }
}

const { gpu, reason } = findGpu();
export const IS_EMULATED = gpu?.description.startsWith('emulated') ?? false;

/** Names of the usable GPUs that are of `DEVICE`'s kind, it first. */
export function listAlike(): string[] {
  if (gpu === undefined) return [];
  return listDevices()
    .filter(({ name, available, description }) => name === DEVICE || (available && description === gpu.description))
    .map(({ name }) => name)
    .sort();
}

/** `describe` where a GPU is, else one skipped test that says why, or a failure where REQUIRE_GPU=1. */
export function describeGpu(name: string, body: () => void): void {
  if (gpu !== undefined) {
    describe(`${name} (${gpu.description})`, body);
    return;
  }
  describe(name, () => {
    if (process.env.REQUIRE_GPU === '1') {
      test('needs a GPU', () => {
        throw new Error(`Expected a usable ${DEVICE} because REQUIRE_GPU=1, found none: ${reason}`);
      });
    } else {
      test.skip(`needs a GPU: ${reason}`, () => {});
    }
  });
}
