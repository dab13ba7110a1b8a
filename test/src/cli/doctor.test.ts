// duo doctor tells what works here, also where the native library is missing.
import { describe, expect, it } from 'vitest';
import { runDuo } from './run-duo.ts';

describe('duo doctor', () => {
  it('prints what this machine can run', async () => {
    const { code, stdout } = await runDuo(['doctor']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Node ${process.versions.node}`);
    expect(stdout).toMatch(/ok {2}cpu: tfjs-cpu/);
  });

  it('says as JSON where the native library was looked for, and how to get it', async () => {
    const { code, stdout } = await runDuo(['doctor', '--json'], { env: { DUO_NATIVE_LIBRARY: '/nowhere/libduo.so' } });
    expect(code).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.native).toMatchObject({ path: null, works: false, devices: [] });
    expect(report.native.detail).toContain('/nowhere/libduo.so');
    expect(report.advice.join(' ')).toContain('duo build');
    expect(report.tensorflow.map(({ name }: { name: string }) => name)).toEqual(['node-gpu', 'node', 'wasm', 'cpu']);
  });
});
