// Without --device the first GPU that can serve computes; one that is too old or too small is passed over with a sentence; a resumed run
// keeps its device. The emulation makes the card too old or too small.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { GOLDEN_MODEL, identifyFlags, makeFolder, runDuo, writeGoldenSamples } from '../src/cli/run-duo.ts';
import { DEVICE, describeGpu, IS_EMULATED } from './device.ts';

/** The archive for GPU machines leaves the golden models out. */
const HAS_GOLDEN = existsSync(join(GOLDEN_MODEL, 'config.json'));
const RUN = ['run', '--model', HAS_GOLDEN ? GOLDEN_MODEL : 'demo', '--prompt', 'a', '--max-new-tokens', '1', '--json'];

/** As `identifyFlags`, without an engine. */
function flagsOf(options: { samples: string; out: string }): string[] {
  const flags = identifyFlags({ ...options, steps: 1 });
  const at = flags.indexOf('--engine');
  return [...flags.slice(0, at), ...flags.slice(at + 2)];
}

const deviceOf = (out: string): string =>
  (JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { engine: { device: string } }).engine.device;

describeGpu('the default device', () => {
  test('is the GPU, and stderr and the result say so', async () => {
    const { code, stdout, stderr } = await runDuo(RUN);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^duo: cuda:\d computes \(.+\)\.$/m);
    expect(JSON.parse(stdout).device).toMatch(/^cuda:\d /);
  });

  test.each([
    ['--device', 'cpu'],
    ['--threads', '1'],
  ])('is not asked for with %s %s', async (...flags) => {
    const { code, stdout, stderr } = await runDuo([...RUN, ...flags]);
    expect(code).toBe(0);
    expect(stderr).not.toContain('computes');
    expect(JSON.parse(stdout).device).toMatch(/^cpu /);
  });

  test.skipIf(!HAS_GOLDEN)('stays that of a run that is resumed, in run.json and on stderr', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const [onGpu, onCpu] = [join(folder, 'gpu'), join(folder, 'cpu')];
    expect((await runDuo([...flagsOf({ samples, out: onCpu }), '--device', 'cpu'])).code).toBe(0);
    const resumed = await runDuo([...flagsOf({ samples, out: onCpu }), '--resume']);
    expect(resumed).toMatchObject({ code: 0 });
    expect(resumed.stderr).toMatch(/engine native on cpu /);
    expect(deviceOf(onCpu)).toMatch(/^cpu /);
    const fresh = await runDuo(flagsOf({ samples, out: onGpu }));
    expect(fresh.stderr).toContain(`engine native on ${DEVICE} `);
    expect(deviceOf(onGpu)).toMatch(/^cuda:0 /);
  });

  test.skipIf(!IS_EMULATED).each([
    [
      'too old',
      { DUO_EMULATED_CAPABILITY: '7' },
      /^duo: cuda:0 \(.+\) is passed over: bf16 tensor cores are needed: compute capability 8\.0 or newer\.$/m,
    ],
    [
      'too small for the weights',
      { DUO_EMULATED_MEMORY: '100000' },
      /^duo: cuda:0 \(.+\) is passed over: expected device memory for .+, found 0\.0 of 0\.0 GB free/m,
    ],
  ])('is the CPU where the GPU is %s', async (_, env, sentence) => {
    const { code, stdout, stderr } = await runDuo(RUN, { env });
    expect(code).toBe(0);
    expect(stderr).toMatch(sentence);
    expect(JSON.parse(stdout).device).toMatch(/^cpu /);
  });

  test.skipIf(!IS_EMULATED)('is the CPU where a step of identify needs more memory than is free', async () => {
    const folder = makeFolder();
    const out = join(folder, 'run');
    const env = { DUO_EMULATED_MEMORY: '2000000' };
    const { code, stderr } = await runDuo(flagsOf({ samples: writeGoldenSamples(folder), out }), { env });
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^duo: cuda:0 \(.+\) is passed over: 2\.0 MB of its memory are free, and a step of 192 tokens needs \d\.\d MB\.$/m,
    );
    expect(deviceOf(out)).toMatch(/^cpu /);
  });

  test.skipIf(!IS_EMULATED)('is what doctor advises on', async () => {
    const { stdout } = await runDuo(['doctor'], { env: { DUO_EMULATED_CAPABILITY: '7' } });
    expect(stdout).toMatch(/^No GPU can be used: cuda:0 \(emulated GPU, .+\): bf16 tensor cores are needed/m);
  });
});
