// identify() as a program calls it: what it gives, what it keeps on disk, what it tells, and that it agrees with the command.
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  AbortedError,
  ConfigError,
  type IdentifyMessage,
  type IdentifyOptions,
  type IdentifyProgress,
  identify,
  openEngine,
  openModel,
  readGates,
  readMask,
  readSamples,
  toHeadMask,
} from '../../src/index.ts';
import { GOLDEN_MODEL, identifyFlags, makeFolder, runDuo, writeGoldenSamples } from '../src/cli/run-duo.ts';

/** As `identifyFlags` of the command's tests. */
const goldenConfig = (steps: number) => ({
  sinkTokens: 4,
  recentTokens: 32,
  lambda: 0.2,
  lr: 0.05,
  steps,
  checkpointEvery: 2,
  heldOutSamples: 0,
});
const golden = (steps: number, more: Partial<IdentifyOptions> = {}): IdentifyOptions => ({
  model: GOLDEN_MODEL,
  engine: 'tensorflow',
  config: goldenConfig(steps),
  ...more,
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe('identify', () => {
  it('finds the heads of the demo by name and a partial config, prints nothing and leaves nothing on disk', async () => {
    const written = [vi.spyOn(process.stdout, 'write'), vi.spyOn(process.stderr, 'write'), vi.spyOn(console, 'log')];
    const temporary = mkdtempSync(join(tmpdir(), 'duo-test-'));
    vi.stubEnv('TMPDIR', temporary);
    const { gates, mask, cut, heldOut, config, out, files } = await identify({
      model: 'demo',
      config: { method: 'gates', steps: 3, heldOutSamples: 2 },
    });
    vi.unstubAllEnvs();
    for (const spy of written) expect(spy).not.toHaveBeenCalled();
    expect(readdirSync(temporary)).toEqual([]);
    expect(out).toBeNull();
    expect(files).toEqual([]);
    expect(gates.schema).toBe('duo.gates');
    expect(mask.schema).toBe('duo.head-mask');
    expect(toHeadMask(mask).windows.flat()).toHaveLength(32);
    expect(cut.streamingHeads + cut.retrievalHeads).toBe(32);
    expect(mask.gates).toEqual(gates.gates);
    expect(config).toMatchObject({ method: 'gates', steps: 3 });
    expect(heldOut?.map((row) => row.mask)).toEqual([
      'full',
      'given',
      'streaming',
      'random-0',
      'random-1',
      'random-2',
      'inverted',
    ]);
  });

  it('gives and writes the bytes that the command writes, from a file and from a list of samples', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const [byCommand, byFile] = [join(folder, 'command'), join(folder, 'file')];
    expect((await runDuo(identifyFlags({ samples, out: byCommand, steps: 4 }))).code).toBe(0);
    const fromFile = await identify(golden(4, { samples, out: byFile }));
    const fromList = await identify(golden(4, { samples: [...readSamples(samples)] }));
    for (const name of ['gates.json', 'mask.json']) {
      expect(readFileSync(join(byFile, name), 'utf8')).toBe(readFileSync(join(byCommand, name), 'utf8'));
    }
    expect(fromFile.files).toEqual(['gates.json', 'mask.json', 'metrics.jsonl', 'run.json']);
    expect(fromFile.out).toBe(byFile);
    expect(readGates(join(byFile, 'gates.json'))).toEqual(fromFile.gates);
    expect(readMask(join(byFile, 'mask.json'))).toEqual(fromFile.mask);
    expect(fromList.gates).toEqual(fromFile.gates);
    expect(fromList.mask).toEqual(fromFile.mask);
  });

  it('stops on its signal, and resumes to the gates of an uninterrupted run', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const out = join(folder, 'run');
    const controller = new AbortController();
    const messages: IdentifyMessage[] = [];
    const stopped = identify(
      golden(8, {
        samples,
        out,
        signal: controller.signal,
        onMessage: (message) => messages.push(message),
        onProgress: ({ stage, done }) => stage === 'score' && done === 3 && controller.abort(),
      }),
    );
    await expect(stopped).rejects.toBeInstanceOf(AbortedError);
    expect(messages.at(-1)).toEqual({ kind: 'stopped', text: expect.stringContaining('`resume`') });
    expect(existsSync(join(out, 'gates.json'))).toBe(false);
    const progress: IdentifyProgress[] = [];
    const resumed = await identify(
      golden(8, { samples, out, resume: true, onProgress: (report) => progress.push(report) }),
    );
    expect(progress.filter(({ done }) => done > 0).map(({ done }) => done)).toEqual([4, 5, 6, 7, 8]);
    expect(resumed.gates).toEqual((await identify(golden(8, { samples }))).gates);
  });

  it('works with an opened model and engine and leaves both open', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const model = await openModel(GOLDEN_MODEL);
    const engine = await openEngine(model, { engine: 'tensorflow' });
    const messages: IdentifyMessage[] = [];
    const options = golden(2, { model, engine, samples, onMessage: (message) => messages.push(message) });
    const first = await identify(options);
    expect((await identify(options)).gates).toEqual(first.gates);
    expect(first.engine).toEqual({ name: 'tensorflow', device: engine.device });
    expect(messages.map(({ kind }) => kind)).toEqual(['start', 'estimate', 'start', 'estimate']);
    await engine.close();
    model.close();
  });

  it.each<[Partial<IdentifyOptions>, string]>([
    [{ config: { ...goldenConfig(1), recentTokens: 0 } }, 'Expected `recentTokens` to be an integer of at least 1'],
    [{ config: { ...goldenConfig(1), stepz: 3 } as object }, 'Unknown configuration key `stepz`'],
    [{ config: { ...goldenConfig(1), maxTokens: 9999 } }, 'Expected `maxTokens` to be at most the 4096 tokens'],
    [{ engine: 'torch' as never }, 'Expected `engine` to be native or tensorflow, got `torch`'],
    [{ device: 'cpu' }, 'Expected `device` only with `engine` native'],
    [{ device: 'cuda:0,cuda:0' }, 'or different CUDA devices such as cuda:0,cuda:1, got `cuda:0,cuda:0`'],
    [{ device: 'cpu,cuda:0' }, 'or different CUDA devices such as cuda:0,cuda:1, got `cpu,cuda:0`'],
    [{ device: 'cuda:0,cuda:1' }, 'to be one device for method gates, which cannot share its samples'],
    [{ samples: 'x', haystack: 'y' }, 'Expected `samples` or `haystack`, got both'],
    [{ out: 'x', resume: true, overwrite: true }, 'Expected `resume` or `overwrite`, got both'],
    [{ resume: true }, 'Expected `out` together with `resume`, got none'],
    [{ samples: [] }, 'Expected at least one sample'],
  ])('refuses %j in the words of its own options', async (options, sentence) => {
    await expect(identify(golden(1, options))).rejects.toThrow(sentence);
    await expect(identify(golden(1, options))).rejects.toBeInstanceOf(ConfigError);
  });
});
