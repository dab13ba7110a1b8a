// A KV head with more queries than a block's shared memory holds is refused when a session is opened, before any text; fewer are served.
// In a process of its own: the emulated card is as its environment says when the library loads.
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { ROOT } from '../src/cli/run-duo.ts';
import { DEVICE, describeGpu, IS_EMULATED } from './device.ts';

/** Of a card of compute capability 8.6, 8.9 or 12.0. */
const SHARED_BYTES = 99 * 1024;

const SCRIPT = `
  import { findShape } from '${ROOT}/src/bench/shapes.ts';
  import { openRandomNativeEngine } from '${ROOT}/src/engine/native/native-engine.ts';
  const config = findShape('llama-3.2-1b', { layers: 1 });
  const tell = async (heads) => {
    const shape = { ...config.shape, heads, kvHeads: 1, headDim: 256, hidden: 64, intermediate: 64, vocab: 64 };
    const engine = await openRandomNativeEngine({ ...config, shape }, { seed: 1, weightDtype: 'bf16', device: '${DEVICE}' });
    let stage = 'open';
    try {
      const session = await engine.openSession('full', { maxTokens: 8, kvDtype: 'int8' });
      stage = 'prefill';
      await session.prefill([1, 2, 3]);
      stage = 'decode';
      await session.decode(4);
      return session.length;
    } catch (error) {
      return [stage, error.status, error.message].join(': ');
    } finally {
      await engine.close();
    }
  };
  console.log(JSON.stringify([await tell(32), await tell(64)]));
`;

describeGpu('many queries per KV head', () => {
  test.skipIf(!IS_EMULATED)('are refused at open where a block cannot hold them', { timeout: 120_000 }, () => {
    const env = { ...process.env, DUO_EMULATED_SHARED: String(SHARED_BYTES) };
    const args = ['--import', 'tsx', '--input-type=module', '-e', SCRIPT];
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8', env });
    expect(stderr).toBe('');
    const [served, refused] = JSON.parse(stdout) as [number, string];
    expect(served).toBe(4);
    expect(refused).toBe(
      `open: UNSUPPORTED: Expected fewer query heads per KV head for \`head_dim\` 256 than 64 on this GPU, whose blocks have ${SHARED_BYTES} bytes of shared memory: use device cpu`,
    );
  });
});
