// What commands say to small mistakes, as a careful person would put it: one sentence, the right exit code, before anything slow.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { writeGates } from '../../../src/formats/gates.ts';
import { makeGatesFile } from '../../export/gates-fixture.ts';
import { answerOf } from './in-process.ts';
import { GOLDEN_MODEL, writeGoldenSamples } from './run-duo.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-messages-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);
const write = (name: string, data: string | Uint8Array): string => {
  writeFileSync(at(name), data);
  return at(name);
};
const LINE = '{"tokens":[1,2,3],"answers":[[1,2]]}\n';

describe('duo run --prompt-file', () => {
  const run = (path: string) => answerOf('run', '--model', 'demo', '--prompt-file', path);

  it('says in plain words what is absent or no file', async () => {
    expect(await run(at('absent'))).toEqual({
      code: 1,
      stdout: '',
      stderr: `duo: Cannot read ${at('absent')}: there is no such file or folder.\n`,
    });
    expect((await run(scratch)).stderr).toBe(`duo: Cannot read ${scratch}: it is a folder; name a file.\n`);
  });

  it('refuses what is not UTF-8', async () => {
    const path = write('latin.txt', Buffer.from([0x61, 0xe4, 0x62]));
    expect(await run(path)).toMatchObject({
      code: 1,
      stderr: `duo: Expected ${path} to be UTF-8 text, found other bytes; convert it first.\n`,
    });
  });
});

describe('samples', () => {
  it.each([
    ['s.jsonl.gz', gzipSync(LINE), 'gunzip'],
    ['s.jsonl.zst', Buffer.from('KLUv/SAlKQEA', 'base64'), 'unzstd'],
    ['s.jsonl.bz2', Buffer.from('BZh91AY&SY'), 'bunzip2'],
  ])('that are compressed say how to unpack them: %s', async (name, data, program) => {
    const path = write(name, data);
    expect(await answerOf('inspect', path)).toMatchObject({
      code: 1,
      stderr: `duo: Expected JSON in line 1 of ${path}, got compressed bytes; samples are read many times, from a file of plain text: decompress it first with \`${program}\`.\n`,
    });
  });

  it('are not read from a device', async () => {
    const { stderr } = await answerOf('identify', '--model', GOLDEN_MODEL, '--samples', '/dev/null', '--out', at('o'));
    expect(stderr).toContain('to be a samples file, found a folder or a device; name a file');
  });
});

describe('duo identify refuses what cannot work before anything is opened', () => {
  it.each([
    ['--steps', '0', '`--steps` to be an integer of at least 1'],
    ['--lr', '0', '`--lr` to be a number above 0 and at most 1000'],
    ['--lr', '1e308', '`--lr` to be a number above 0 and at most 1000'],
    ['--lambda', '1e308', '`--lambda` to be a number from 0 to 1000000'],
  ])('%s %s', async (flag, value, expected) => {
    const out = at('refused');
    const { code, stderr } = await answerOf('identify', '--model', 'demo', '--out', out, flag, value);
    expect(stderr).toMatch(new RegExp(`^duo: Expected ${expected}, got \`.*\`\\.\n$`));
    expect(code).toBe(2);
    expect(existsSync(out)).toBe(false);
  });
});

describe('a run folder stands for its file', () => {
  const makeRun = (name: string, gates: number[][]): string => {
    mkdirSync(at(name), { recursive: true });
    writeGates(join(at(name), 'gates.json'), makeGatesFile(gates));
    return at(name);
  };

  it('in duo export --gates and in both arguments of duo inspect', async () => {
    const runs = [makeRun('run-a', [[0.1, 0.9]]), makeRun('run-b', [[0.9, 0.1]])];
    for (const run of runs) {
      const mask = join(run, 'mask.json');
      const flags = ['--gates', run, '--streaming-fraction', '0.5', '--sink', '4', '--recent', '16', '--out', mask];
      expect(await answerOf('export', ...flags)).toMatchObject({ code: 0 });
    }
    const { code, stdout } = await answerOf('inspect', ...runs);
    expect(code).toBe(0);
    expect(stdout).toContain(`Retrieval heads: 1 in ${runs[0]}/mask.json, 1 in ${runs[1]}/mask.json, 0 in both.`);
  });

  it('and its file is no output', async () => {
    const run = makeRun('run-c', [[0.1, 0.9]]);
    const before = readFileSync(join(run, 'gates.json'));
    const flags = ['--gates', run, '--streaming-fraction', '0.5', '--overwrite', '--out', join(run, 'gates.json')];
    expect((await answerOf('export', ...flags)).code).toBe(2);
    expect(readFileSync(join(run, 'gates.json'))).toEqual(before);
  });
});

describe('duo identify --resume', () => {
  it('names the flag that made other samples', async () => {
    const flags = ['identify', '--model', 'demo', '--out', at('resumed'), '--engine', 'tensorflow', '--steps', '1'];
    const quick = [
      '--min-tokens',
      '200',
      '--max-tokens',
      '200',
      '--held-out-samples',
      '1',
      '--held-out-length-factor',
      '1',
    ];
    expect((await answerOf(...flags, ...quick)).code).toBe(0);
    const { code, stderr } = await answerOf(...flags, ...quick, '--resume', '--held-out-samples', '2');
    expect(stderr).toContain(
      "Expected --resume to keep the run's settings, but `--held-out-samples` was `1` and is `2`;",
    );
    expect(code).toBe(2);
  }, 120_000);

  it('names the samples where no flag made them', async () => {
    const samples = writeGoldenSamples(scratch);
    const window = ['--sink', '4', '--recent', '32', '--steps', '1', '--held-out-samples', '0'];
    const flags = ['identify', '--model', GOLDEN_MODEL, '--out', at('own'), '--engine', 'tensorflow', ...window];
    expect((await answerOf(...flags, '--samples', samples)).code).toBe(0);
    const fewer = write('fewer.jsonl', readFileSync(samples, 'utf8').split('\n').slice(1).join('\n'));
    const { stderr } = await answerOf(...flags, '--samples', fewer, '--resume');
    expect(stderr).toMatch(/but `samples` was `"sha256:[0-9a-f]+"` and is `"sha256:[0-9a-f]+"`;/);
  }, 120_000);
});
