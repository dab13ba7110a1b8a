// Tests of the native library run where it is built; elsewhere they are skipped with the reason, or fail where REQUIRE_NATIVE=1.
import { describe } from 'vitest';
import { findLibrary } from '../../src/native/library.ts';

const { path, reason } = findLibrary();
if (path === null) {
  if (process.env.REQUIRE_NATIVE === '1') throw new Error(reason);
  console.info(`skipped: ${reason}`);
}

/** `describe` where the library is built. */
export const describeNative = describe.skipIf(path === null);

/** Device variants of the CPU that this machine has, found without loading a model. */
export async function listCpuVariants(): Promise<string[]> {
  if (path === null) return [];
  const { listDevices } = await import('../../src/native/devices.ts');
  const features = listDevices()[0]!.features;
  return ['cpu:plain', ...['avx2', 'avx512'].filter((name) => features.includes(name)).map((name) => `cpu:${name}`)];
}
