// --activations: where it counts and where it is refused.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { answerOf } from './in-process.ts';
import { GOLDEN_MODEL, runDuo } from './run-duo.ts';

const PUBLISHED = fileURLToPath(new URL('../../../../shared/models/SmolLM2-135M-Instruct.Q4_1.gguf', import.meta.url));

describe('--activations', () => {
  it.each([
    [['--activations', 'int4'], 'Expected --activations to be one of float32, int8, got `int4`'],
    [['--activations', 'int8'], 'but the weights of mha-2l are not quantised'],
    [['--activations', 'int8', '--engine', 'tensorflow'], 'int8 only with --engine native'],
    [['--activations', 'int8', '--device', 'cuda:0'], 'int8 only with --device cpu, got it with `cuda:0`'],
  ])('refuses %j', async (flags, message) => {
    const { code, stderr } = await answerOf('run', '--model', GOLDEN_MODEL, '--prompt', 'the', ...flags);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });

  it('is refused for a shape, whose weights are not quantised', async () => {
    const { code, stderr } = await answerOf('bench', '--shape', 'llama-3.2-1b', '--activations', 'int8');
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('int8 only with a GGUF file') });
  });

  it.each(['identify', 'eval'])('does not exist for %s, which measures with float32', async (command) => {
    const { code, stderr } = await answerOf(command, '--model', GOLDEN_MODEL, '--activations', 'int8');
    expect(stderr).toContain("unknown option '--activations'");
    expect(code).toBe(2);
  });

  it.skipIf(!existsSync(PUBLISHED))('rounds them for a GGUF file, and says so', async () => {
    const prompt = ['--prompt', 'The capital of France is', '--max-new-tokens', '6', '--json'];
    const run = ['run', '--model', PUBLISHED, '--engine', 'native', '--device', 'cpu', ...prompt];
    const rounded = JSON.parse((await runDuo([...run, '--activations', 'int8'])).stdout);
    const exact = JSON.parse((await runDuo(run)).stdout);
    expect(rounded).toMatchObject({ activations: 'int8', device: expect.stringContaining('int8 activations') });
    expect(exact).toMatchObject({ activations: 'float32', device: expect.not.stringContaining('int8') });
    expect(rounded.text).toContain('Paris');
    expect(exact.text).toContain('Paris');
  });
});
