// --weights: where a device can hold weights in fewer bits, and where it is refused. On a GPU (or its emulation): test/gpu/weights.test.ts.
import { describe, expect, it } from 'vitest';
import { answerOf } from './in-process.ts';
import { GOLDEN_MODEL } from './run-duo.ts';

describe('--weights', () => {
  const run = ['run', '--model', GOLDEN_MODEL, '--prompt', 'the'];
  const samples = ['eval', '--model', GOLDEN_MODEL, '--samples', 'none.jsonl'];

  it.each([
    [[...run, '--weights', 'int3'], 'Expected --weights to be one of stored, bf16, int8, int4, got `int3`'],
    [[...run, '--weights', 'int4', '--device', 'cpu'], '--weights int4 only with the native engine on a CUDA device'],
    [[...run, '--weights', 'int8', '--engine', 'tensorflow'], 'got it with the tensorflow engine'],
    [[...run, '--weights', 'int8', '--threads', '2'], 'got it with an option of the CPU'],
    [['bench', '--shape', 'llama-3.2-1b', '--weights', 'int4', '--device', 'cpu'], 'int4 only on a CUDA device'],
    [
      ['bench', '--shape', 'llama-3.2-1b', '--weights', 'stored'],
      'Expected --weights to be one of bf16, f32, int8, int4',
    ],
  ])('refuses %j', async (command, message) => {
    const { code, stderr } = await answerOf(...command);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });

  it('does not exist for identify, which widens every weight', async () => {
    const { code, stderr } = await answerOf('identify', '--model', GOLDEN_MODEL, '--weights', 'int8');
    expect(stderr).toContain("unknown option '--weights'");
    expect(code).toBe(2);
  });

  it('leaves the weights as they are stored, and says so', async () => {
    const options = ['--max-new-tokens', '2', '--device', 'cpu', '--json'];
    const { stdout } = await answerOf(...run, ...options, '--weights', 'stored');
    expect(JSON.parse(stdout)).toMatchObject({ weights: 'stored' });
    expect((await answerOf(...samples, '--weights', 'stored', '--device', 'cpu')).stderr).not.toContain('--weights');
  });
});
