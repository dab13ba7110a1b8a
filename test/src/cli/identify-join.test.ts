// Several processes in one run folder: killed ones are taken over, and the bytes are those of one process alone.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { describeNative } from '../../reference/native-library.ts';
import { answerOf } from './in-process.ts';
import { findChild, runDuo, until } from './run-duo.ts';

const root = mkdtempSync(join(tmpdir(), 'duo-join-'));
afterAll(() => rmSync(root, { recursive: true }));

const common = ['identify', '--model', 'demo', '--device', 'cpu', '--threads', '1', '--held-out-samples', '2'];
const QUADRATIC = ['--method', 'quadratic', '--quadratic-samples', '8', '--min-tokens', '300', '--max-tokens', '600'];
const PROMISE = ['--quadratic-samples', '2', '--held-out-samples', '8', '--keep', '0.5'];
const start = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, ['bin/duo.js', ...args], { stdio: 'ignore' });
const end = (child: ChildProcess): Promise<number | null> => new Promise((resolve) => child.on('close', resolve));
const read = (out: string, name: string): string => readFileSync(join(out, name), 'utf8');

describeNative('identify --join', () => {
  const alone = join(root, 'alone');
  const out = join(root, 'joined');
  const shared = join(out, 'shared');
  /** Processes that are at work on a sample. */
  const listClaimants = (): number[] =>
    readdirSync(shared)
      .filter((name) => name.endsWith('.claim'))
      .map((name) => {
        try {
          return JSON.parse(read(shared, name)).pid;
        } catch {
          return 0; // given up meanwhile, or not written yet
        }
      });

  it('gives three processes, one of them killed, the bytes of one', async () => {
    expect((await runDuo([...common, ...QUADRATIC, '--out', alone])).code).toBe(0);
    const args = [...common, ...QUADRATIC, '--out', out, '--join'];
    const children = [start(args), start(args), start(args)];
    const ends = children.map(end);
    // the second is at work on a sample, and the others on theirs or near it
    await until(() => existsSync(shared) && listClaimants().includes(findChild(children[1]?.pid as number) ?? 0));
    const lock = await answerOf(...common, ...QUADRATIC, '--out', out, '--resume');
    expect(lock.stderr).toContain(
      'Expected to be the only one writing this run folder, but a process with --join is at work in it',
    );
    children[1]?.kill('SIGKILL');
    expect(await Promise.all(ends)).toEqual([0, null, 0]);
    for (const name of ['gates.json', 'mask.json']) expect(read(out, name)).toBe(read(alone, name));
    const results = (folder: string) => JSON.parse(read(folder, 'run.json'));
    expect(results(out)).toMatchObject({ status: 'done', identity: results(alone).identity });
    expect(results(out).results.heldOut.map((row: { accuracy: number }) => row.accuracy)).toEqual(
      results(alone).results.heldOut.map((row: { accuracy: number }) => row.accuracy),
    );
    // what the processes had for one another is gone
    expect(
      readdirSync(out)
        .filter((name) => !name.startsWith('.'))
        .sort(),
    ).toEqual(['gates.json', 'mask.json', 'run.json']);
  }, 300_000);

  it('says a finished run at once to one that comes late, and refuses other settings', async () => {
    const before = read(out, 'run.json');
    const late = await answerOf(...common, ...QUADRATIC, '--out', out, '--join', '--json');
    expect(late.code).toBe(0);
    expect(late.stderr).toContain('is finished; its results follow.');
    expect(JSON.parse(late.stdout).heldOut).toHaveLength(7);
    expect(read(out, 'run.json')).toBe(before);
    const other = await answerOf(...common, ...QUADRATIC, '--sink', '3', '--out', out, '--join');
    expect(other).toMatchObject({ code: 2 });
    expect(other.stderr).toMatch(
      /Expected --join to meet a run of the same settings in .*, but there `config\.sinkTokens` is `\d+` and here `3`/,
    );
  }, 300_000);

  it('goes on with what killed processes had found, when all of them are gone', async () => {
    const again = join(root, 'again');
    const args = [...common, ...QUADRATIC, '--out', again, '--join'];
    const child = start(args);
    const ended = end(child);
    const found = (): string[] => readdirSync(join(again, 'shared')).filter((name) => name.endsWith('.json'));
    await until(() => existsSync(join(again, 'shared')) && found().length >= 2);
    child.kill('SIGKILL');
    await ended;
    expect((await runDuo(args)).code).toBe(0);
    expect(read(again, 'gates.json')).toBe(read(alone, 'gates.json'));
  }, 300_000);

  it('divides the samples of a method that reads attention', async () => {
    const args = [...common, '--method', 'attention-mass', '--steps', '4'];
    const [one, two] = [join(root, 'mass'), join(root, 'mass-joined')];
    expect((await runDuo([...args, '--out', one])).code).toBe(0);
    const children = [1, 2].map(() => start([...args, '--out', two, '--join']));
    expect(await Promise.all(children.map(end))).toEqual([0, 0]);
    for (const name of ['gates.json', 'mask.json']) expect(read(two, name)).toBe(read(one, name));
  }, 300_000);

  it('keeps a promise as one process does: the masks are measured by one, and the others and a late one follow', async () => {
    const args = [...common, ...QUADRATIC, ...PROMISE, '--json'];
    const [one, two] = [join(root, 'promise'), join(root, 'promise-joined')];
    const single = await runDuo([...args, '--out', one]);
    expect(single.code).toBe(0);
    const joined = [...args, '--out', two, '--join'];
    const both = await Promise.all([runDuo(joined), runDuo(joined)]);
    const results = [single, ...both, await runDuo(joined)].map(({ stdout }) => {
      const { mask, least, kvShare } = JSON.parse(stdout);
      return { mask, least: least.find(({ keepOf }: { keepOf: string }) => keepOf === 'recall'), kvShare };
    });
    for (const result of results) expect(result).toEqual(results[0]);
    for (const name of ['gates.json', 'mask.json']) expect(read(two, name)).toBe(read(one, name));
    const curve = (folder: string) => JSON.parse(read(folder, 'run.json')).results.keptCurve;
    expect(curve(two)).toEqual(curve(one));
    expect(curve(one).walked.length).toBeGreaterThan(1);
  }, 300_000);

  it.each([
    [['--steps', '2'], 'Expected --join with a method whose samples can be divided'],
    [[...QUADRATIC, '--resume'], 'Expected --join or --resume, got both'],
  ])('refuses %j', async (more, sentence) => {
    const { code, stderr } = await answerOf(...common, ...more, '--out', join(root, 'refused'), '--join');
    expect(code).toBe(2);
    expect(stderr).toContain(sentence);
  });
});
