// --weights-on: where weights can be streamed, and where it is refused. On a GPU (or its emulation): test/gpu/streamed-weights.test.ts.
import { describe, expect, it } from 'vitest';
import { GOLDEN_MODEL, runDuo } from './run-duo.ts';

describe('--weights-on', () => {
  const run = ['run', '--model', GOLDEN_MODEL, '--prompt', 'the'];
  const samples = ['eval', '--model', GOLDEN_MODEL, '--samples', 'none.jsonl'];
  const shape = ['bench', '--shape', 'llama-3.2-1b', '--device', 'cpu'];

  it.each([
    [[...run, '--weights-on', 'disk'], 'Expected --weights-on to be one of auto, device, host, got `disk`'],
    [[...run, '--weights-on', 'host', '--device', 'cpu'], '--weights-on host only with the native engine on a CUDA'],
    [[...run, '--weights-on', 'host', '--engine', 'tensorflow'], 'got it with the tensorflow engine'],
    [[...run, '--weights-on', 'device', '--threads', '2'], 'got it with an option of the CPU'],
    [
      ['identify', '--model', GOLDEN_MODEL, '--weights-on', 'host', '--device', 'cpu', '--out', '/nowhere'],
      'host only',
    ],
    [[...shape, '--weights-on', 'host'], 'Expected --weights-on host only on a CUDA device, got it with cpu'],
    [[...shape, '--distinct-layers', '17'], "Expected --distinct-layers of at most the shape's 16 layers, got `17`"],
    [['bench', '--model', GOLDEN_MODEL, '--distinct-layers', '2'], '--distinct-layers only with --shape'],
  ])('refuses %j', async (command, message) => {
    const { code, stderr } = await runDuo(command);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });

  it('says auto without a word', async () => {
    const { stderr } = await runDuo([...run, '--max-new-tokens', '1', '--device', 'cpu', '--weights-on', 'auto']);
    expect(stderr).not.toContain('pinned');
    expect((await runDuo([...samples, '--weights-on', 'auto', '--device', 'cpu'])).stderr).not.toContain(
      '--weights-on',
    );
  });
});
