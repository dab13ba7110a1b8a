// Which GPUs are tried when no device is named, and what is said of the others. The devices are data; opening them is test/gpu's.
import { describe, expect, it } from 'vitest';
import { adviseOnGpus } from '../../../../src/cli/machine.ts';
import { sortGpus } from '../../../../src/engine/native/default-device.ts';
import type { NativeDevice } from '../../../../src/native/devices.ts';

const device = (name: string, changes: Partial<NativeDevice> = {}): NativeDevice => ({
  name,
  description: `card of ${name}`,
  memoryBytes: 8e9,
  available: true,
  reason: '',
  features: [],
  ...changes,
});
const cpu = device('cpu');
const old = device('cuda:0', { available: false, reason: 'compute capability 8.0 or newer' });
const none = (reason: string): NativeDevice => device('cuda:0', { description: '', available: false, reason });
const withoutCuda = none('the library was built without CUDA: nvcc was not found or not asked for');
const withoutDriver = none('no NVIDIA driver, or one older than the CUDA version of the library');

describe('sortGpus', () => {
  it('keeps the order of those that may serve and names the one that cannot', () => {
    expect(sortGpus([cpu, old, device('cuda:1'), device('cuda:2')], { hasGpu: true })).toEqual({
      usable: [device('cuda:1'), device('cuda:2')],
      problems: ['cuda:0 (card of cuda:0) is passed over: compute capability 8.0 or newer'],
    });
  });

  it.each([withoutCuda, withoutDriver])(
    'says nothing where the machine has no card, and why where it has: %j',
    (gpu) => {
      expect(sortGpus([cpu, gpu], { hasGpu: false })).toEqual({ usable: [], problems: [] });
      expect(sortGpus([cpu, gpu], { hasGpu: true }).problems).toEqual([
        `the GPU is passed over: ${gpu.reason}; \`duo doctor\` says what to do`,
      ]);
    },
  );
});

describe('adviseOnGpus', () => {
  it.each([
    [[cpu, old, device('cuda:1')], { hasGpu: true, hasNvcc: true }, []],
    [[cpu, withoutCuda], { hasGpu: false, hasNvcc: true }, []],
    [
      [cpu, withoutCuda],
      { hasGpu: true, hasNvcc: true },
      ['An NVIDIA GPU is here, but the native library was built without CUDA: run `duo build --cuda`.'],
    ],
    [
      [cpu, withoutCuda],
      { hasGpu: true, hasNvcc: false },
      [
        'An NVIDIA GPU is here, but the native library was built without CUDA: install the CUDA toolkit (nvcc), then run `duo build --cuda`.',
      ],
    ],
    [
      [cpu, withoutDriver],
      { hasGpu: true, hasNvcc: false },
      [`No GPU can be used: ${withoutDriver.reason}; install a newer NVIDIA driver.`],
    ],
    [
      [cpu, old],
      { hasGpu: true, hasNvcc: false },
      ['No GPU can be used: cuda:0 (card of cuda:0): compute capability 8.0 or newer.'],
    ],
  ])('of %j with %j', (devices, machine, advice) => {
    expect(adviseOnGpus(devices, machine)).toEqual(advice);
  });
});
