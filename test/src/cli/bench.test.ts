// duo bench on a small model: laws first, then a table or JSON whose bytes are the formula's.
import { describe, expect, it } from 'vitest';
import { GOLDEN_MODEL, runDuo } from './run-duo.ts';

const SMALL = ['--contexts', '24', '--steps', '2', '--sink', '2', '--recent', '6', '--streaming-fraction', '0.5'];
const TENSORFLOW = ['--engine', 'tensorflow', '--backend', 'cpu', '--kv-dtype', 'f32'];

describe('duo bench', () => {
  it('checks laws, then measures full and masked', async () => {
    const { code, stdout } = await runDuo(['bench', '--model', GOLDEN_MODEL, ...SMALL, ...TENSORFLOW, '--json']);
    expect(code).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.checks).toHaveLength(5);
    for (const check of report.checks) expect(check).toMatchObject({ holds: true });
    const [at] = report.contexts;
    // maxTokens = 24 + 2 warm-up + 2 steps; 8 heads, 4 of them with 2 + 6 slots; 2 × 32 values × 4 bytes a slot
    expect(at.figures.full.kvBytes).toBe(8 * 28 * 256);
    expect(at.figures.masked.kvBytes).toBe((4 * 28 + 4 * 8) * 256);
    expect(at.expectedKvBytes).toEqual({ full: at.figures.full.kvBytes, masked: at.figures.masked.kvBytes });
    expect(at.figures.full.prefillSeconds).toBeGreaterThan(0);
    expect(at.figures.masked.stepSeconds).toHaveLength(2);
  });

  it('prints a table', async () => {
    const { code, stdout } = await runDuo(['bench', '--model', GOLDEN_MODEL, ...SMALL, ...TENSORFLOW]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/context +heads +prefill s/);
    expect(stdout).toMatch(/24 tokens, mask against full: prefill [\d.]+×, decode [\d.]+×/);
    expect(stdout).toMatch(/5 laws checked before/);
  });

  it.each([
    [[], 'Expected --model or --shape, got neither.'],
    [['--shape', 'llama-9'], 'Expected a shape among llama-2-7b'],
    [['--shape', 'llama-3.2-1b', '--layers', '99'], 'Expected `layers` to be an integer from 1 to 16, got `99`'],
    [['--shape', 'llama-3.2-1b', '--engine', 'tensorflow'], 'Expected the native engine with --shape'],
    [['--model', GOLDEN_MODEL, '--mask', 'm', '--streaming-fraction', '1'], 'got both.'],
    [['--model', GOLDEN_MODEL, '--contexts', '2x'], 'Expected --contexts to be an integer'],
  ])('refuses %j with exit code 2', async (flags, message) => {
    const { code, stderr } = await runDuo(['bench', ...flags]);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});
