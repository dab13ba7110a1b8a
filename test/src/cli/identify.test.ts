// duo identify as a user runs it: what it writes and prints, equal bytes, resume after signals and kills, refusals.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { answerOf } from './in-process.ts';
import { GOLDEN_MODEL, identifyFlags, makeFolder, runDuo, writeGoldenSamples } from './run-duo.ts';

const RESULTS = ['gates.json', 'mask.json'] as const;

function readResults(folder: string): string[] {
  return RESULTS.map((name) => readFileSync(join(folder, name), 'utf8'));
}

function readMetricsWithoutSeconds(folder: string): unknown[] {
  return readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => ({ ...(JSON.parse(line) as object), seconds: 0 }));
}

describe('duo identify', () => {
  it('writes gates, mask, metrics and the record of the run, the same bytes twice, with the closing table on stdout', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const [a, b] = [join(folder, 'a'), join(folder, 'b')];
    const first = await runDuo([...identifyFlags({ samples, out: a }), '--held-out', samples]);
    expect(first).toMatchObject({ code: 0 });
    for (const mask of ['full', 'given', 'streaming', 'random-0', 'random-1', 'random-2', 'inverted']) {
      expect(first.stdout).toMatch(new RegExp(`^${mask} `, 'm'));
    }
    // The golden model ends at 4096 tokens.
    expect(first.stdout).toMatch(/^KV cache saved: \d+\.\d % at 4K tokens\.$/m);
    expect(first.stderr).toMatch(/Expected: [\d.]+ MiB of memory/);
    expect(readdirSync(a).sort()).toEqual(['checkpoint.json', 'gates.json', 'mask.json', 'metrics.jsonl', 'run.json']);
    const run = JSON.parse(readFileSync(join(a, 'run.json'), 'utf8')) as {
      status: string;
      results: { heldOut: object[] };
    };
    expect(run.status).toBe('done');
    expect(run.results.heldOut).toHaveLength(7);
    expect((await runDuo(identifyFlags({ samples, out: b }))).code).toBe(0);
    expect(readResults(b)).toEqual(readResults(a));
    expect(readMetricsWithoutSeconds(b)).toEqual(readMetricsWithoutSeconds(a));
  });

  it('runs a method that looks at attention on the default engine, and leaves no empty metrics', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const out = join(folder, 'run');
    const inputs = ['--model', GOLDEN_MODEL, '--samples', samples, '--held-out-samples', '0', '--out', out];
    const method = ['--method', 'mean-query-key', '--steps', '2', '--sink', '4', '--recent', '32'];
    const { code, stdout, stderr } = await runDuo(['identify', ...inputs, ...method]);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^Expected: [\d.]+ MiB of memory/m);
    expect(stdout).toMatch(/: gates\.json, mask\.json, run\.json\.$/m);
    expect(readdirSync(out).sort()).toEqual(['gates.json', 'mask.json', 'run.json']);
  });

  it('prints one JSON document and nothing else on stdout with --json', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const { code, stdout } = await runDuo([...identifyFlags({ samples, out: join(folder, 'a'), steps: 1 }), '--json']);
    expect(code).toBe(0);
    const result = JSON.parse(stdout) as { mask: number[][]; streamingHeads: number };
    expect(result.mask.flat().filter((label) => label === 0)).toHaveLength(result.streamingHeads);
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
    'resumes after %s to the bytes of an uninterrupted run',
    async (signal) => {
      const folder = makeFolder();
      const samples = writeGoldenSamples(folder);
      const [whole, cut] = [join(folder, 'whole'), join(folder, 'cut')];
      expect((await runDuo(identifyFlags({ samples, out: whole, steps: 24 }))).code).toBe(0);
      const stopped = await runDuo(identifyFlags({ samples, out: cut, steps: 24 }), {
        onStart: (kill) => {
          const watch = setInterval(() => {
            const metrics = join(cut, 'metrics.jsonl');
            if (!existsSync(metrics) || readFileSync(metrics, 'utf8').split('\n').length < 6) return;
            clearInterval(watch);
            kill(signal);
          }, 5);
        },
      });
      if (signal === 'SIGKILL') expect(stopped.signal).toBe('SIGKILL');
      else expect(stopped.code).toBe(130);
      expect(existsSync(join(cut, 'gates.json'))).toBe(false);
      const resumed = await runDuo([...identifyFlags({ samples, out: cut, steps: 24 }), '--resume']);
      expect(resumed).toMatchObject({ code: 0 });
      expect(readResults(cut)).toEqual(readResults(whole));
      expect(readMetricsWithoutSeconds(cut)).toEqual(readMetricsWithoutSeconds(whole));
    },
  );

  it('refuses a folder with a run, and a resume with other settings, naming the first difference', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const out = join(folder, 'run');
    expect((await runDuo(identifyFlags({ samples, out, steps: 2 }))).code).toBe(0);
    const before = readResults(out);
    const again = await answerOf(...identifyFlags({ samples, out, steps: 2 }));
    expect(again.code).toBe(2);
    expect(again.stderr).toMatch(/^duo: Expected .* to hold no run, .*--resume to continue it or --overwrite/m);
    const other = await answerOf(...identifyFlags({ samples, out, steps: 2 }), '--seed', '7', '--resume');
    expect(other.code).toBe(2);
    expect(other.stderr).toContain('`seed` was `42` and is `7`');
    expect(readResults(out)).toEqual(before);
    expect((await runDuo([...identifyFlags({ samples, out, steps: 2 }), '--overwrite'])).code).toBe(0);
    expect(readResults(out)).toEqual(before);
  });

  it.each([
    [['--streaming-fraction', '1.2'], 'Expected `--streaming-fraction` to be a number from 0 to 1'],
    [['--streaming-fraction', '0.5', '--threshold', '0.5'], 'got both'],
    [['--recent', '0'], 'Expected `--recent` to be an integer of at least 1'],
    [['--sink', '-1'], 'Expected `--sink` to be an integer of at least 0'],
    [['--stepz', '3'], "unknown option '--stepz'"],
    [['--engine', 'torch'], 'Expected --engine to be native or tensorflow, got `torch`'],
    [['--method', 'magic'], 'Expected `method` to be one of gates'],
    [['--resume', '--overwrite'], 'Expected --resume or --overwrite, got both'],
  ])('%j is wrong usage: exit code 2, one sentence, nothing written', async (flags, sentence) => {
    const folder = makeFolder();
    const out = join(folder, 'run');
    const { code, stdout, stderr } = await answerOf(
      ...identifyFlags({ samples: writeGoldenSamples(folder), out }),
      ...flags,
    );
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(sentence);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(existsSync(out)).toBe(false);
  });

  it('names the file and line of a malformed sample, and the sample that is longer than the model allows', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    writeFileSync(samples, `${readFileSync(samples, 'utf8')}{"tokens": [1, 2], "answers": [[0, 1]]}\n`);
    const malformed = await answerOf(...identifyFlags({ samples, out: join(folder, 'run') }));
    expect(malformed.code).toBe(1);
    expect(malformed.stderr).toMatch(/line \d+ of .*samples\.jsonl/);
    const long = { tokens: new Array<number>(4097).fill(5), answers: [[1, 2]] };
    writeFileSync(samples, `${JSON.stringify(long)}\n`);
    const tooLong = await answerOf(...identifyFlags({ samples, out: join(folder, 'run') }));
    expect(tooLong.code).toBe(1);
    expect(tooLong.stderr).toContain('4096');
    expect(existsSync(join(folder, 'run'))).toBe(false);
  });

  it('says what is wrong with the model folder or the output folder', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const absent = await answerOf('identify', '--model', join(folder, 'none'), '--samples', samples);
    expect(absent).toMatchObject({ code: 1, stdout: '' });
    expect(absent.stderr).toMatch(/^duo: Expected a model folder at .*none, found nothing there; check the path\.$/m);
    vi.stubEnv('HF_HUB_OFFLINE', '1').stubEnv('HF_HOME', join(folder, 'home'));
    const hub = await answerOf('identify', '--model', 'meta-llama/Llama-3.1-8B', '--samples', samples);
    vi.unstubAllEnvs();
    expect(hub.code).toBe(1);
    expect(hub.stderr).toContain('because HF_HUB_OFFLINE is set, found none; fetch it once with a connection');
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const blocked = await answerOf(...identifyFlags({ samples, out: join(file, 'run') }));
    expect(blocked.code).toBe(1);
    expect(blocked.stderr).toMatch(/^duo: Cannot create .*file\/run/m);
  });

  it('needs no tokenizer with --samples', async () => {
    const folder = makeFolder();
    const samples = writeGoldenSamples(folder);
    const model = join(folder, 'model');
    const { cpSync, rmSync } = await import('node:fs');
    cpSync(GOLDEN_MODEL, model, { recursive: true });
    rmSync(join(model, 'tokenizer.json'));
    const flags = identifyFlags({ samples, out: join(folder, 'run'), steps: 1 });
    flags[flags.indexOf(GOLDEN_MODEL)] = model;
    expect((await runDuo(flags)).code).toBe(0);
    const withoutSamples = await answerOf('identify', '--model', model, '--out', join(folder, 'other'));
    expect(withoutSamples.code).toBe(1);
    expect(withoutSamples.stderr).toContain('tokenizer.json');
    expect(existsSync(join(folder, 'other'))).toBe(false);
  });
});
