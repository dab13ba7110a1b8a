// Backend choice: what loads, what is refused by name, and that tfjs stays silent and leaves no process-wide handler.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { openBackend } from '../../../../src/engine/tensorflow/backend.ts';
import type { BackendName } from '../../../../src/engine/tensorflow/backend-names.ts';
import { ConfigError } from '../../../../src/errors/errors.ts';

it('opens the one asked for, and goes back and forth', async () => {
  const wasm = await openBackend('wasm');
  const cpu = await openBackend('cpu');
  expect([wasm.device, cpu.device]).toEqual(['tfjs-wasm (simd)', 'tfjs-cpu (plain JavaScript)']);
  await wasm.activate();
  expect(tf.getBackend()).toBe('wasm');
  await cpu.activate();
  expect(tf.getBackend()).toBe('cpu');
});

it('the default is the best that loads', async () => {
  const backend = await openBackend();
  expect(['node-gpu', 'node', 'wasm']).toContain(backend.name);
});

it('refuses an unknown name', async () => {
  await expect(openBackend('webgl' as BackendName)).rejects.toThrow(
    new ConfigError('Expected `backend` to be one of node-gpu, node, wasm, cpu, got `webgl`'),
  );
});

it('prints nothing and adds no handler for uncaught errors', () => {
  const module = fileURLToPath(new URL('../../../../src/engine/tensorflow/backend.ts', import.meta.url));
  const script = `
    import { openBackend } from ${JSON.stringify(module)};
    import * as tf from '@tensorflow/tfjs-core';
    for (const name of ['cpu', 'wasm']) {
      await openBackend(name);
      tf.matMul(tf.ones([2, 2]), tf.ones([2, 2])).dataSync();
    }
    if (process.listenerCount('uncaughtException') + process.listenerCount('unhandledRejection') > 0) process.exit(3);
  `;
  const run = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
    encoding: 'utf8',
    cwd: fileURLToPath(new URL('../../../..', import.meta.url)),
  });
  expect({ status: run.status, stdout: run.stdout, stderr: run.stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
});
