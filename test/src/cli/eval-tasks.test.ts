// `duo eval` on suites and tasks as a user runs it: rows, cuts of gates, a folder that is gone on with, refusals.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readResults } from '../../../src/formats/results.ts';
import { makeGoldenPrompts } from '../eval/golden-prompts.ts';
import { answerOf } from './in-process.ts';
import { GOLDEN_MODEL, makeFolder, runDuo } from './run-duo.ts';

const EVAL = ['eval', '--model', GOLDEN_MODEL, '--engine', 'tensorflow'];
const folder = makeFolder();

/** The golden documents as a file of RULER, their answers as its outputs. */
function writeRulerFile(): string {
  const path = join(folder, 'niah_single_1', 'validation.jsonl');
  mkdirSync(join(path, '..'), { recursive: true });
  const lines = makeGoldenPrompts().map(({ prompt, references }, index) =>
    JSON.stringify({ index, input: prompt.replaceAll('<bos>', '').trim(), outputs: references, length: 200 }),
  );
  writeFileSync(path, lines.join('\n'));
  return path;
}

/** Gates under which layer 0 streams before layer 1. */
function writeGatesFile(): string {
  const path = join(folder, 'gates.json');
  const model = { architecture: 'llama', layers: 2, heads: 4, kvHeads: 4, headDim: 32, fingerprint: null };
  const gates = [
    [0.1, 0.2, 0.3, 0.4],
    [0.5, 0.6, 0.7, 0.8],
  ];
  const provenance = { method: 'gates', sink: 4, recent: 32 };
  writeFileSync(path, JSON.stringify({ schema: 'duo.gates', version: 1, model, gates, provenance }));
  return path;
}

const suite = writeRulerFile();
const gates = writeGatesFile();

it('scores a suite under cuts and baselines, keeps cells, and repeats from them', async () => {
  const out = join(folder, 'out');
  const args = [
    ...EVAL,
    '--suite',
    `ruler:${suite}`,
    '--task-samples',
    '2',
    '--max-length',
    '512',
    '--out',
    out,
    '--json',
  ];
  const cuts = ['--gates', gates, '--fractions', '0,1', '--baselines', 'full,streaming,random', '--random-masks', '2'];
  const first = await runDuo([...args, ...cuts]);
  expect(first.stderr).not.toContain('Expected');
  expect(first.code).toBe(0);
  const { rows, critical } = JSON.parse(first.stdout);
  const names = ['full', 'streaming', 'gates@0', 'random-0@0', 'random-1@0', 'gates@1', 'random-0@1', 'random-1@1'];
  expect(rows.map((row: { mask: string }) => row.mask)).toEqual(names);
  const score = Object.fromEntries(rows.map((row: { mask: string; accuracy: number }) => [row.mask, row.accuracy]));
  expect([score.full, score['gates@0'], score.streaming, score['gates@1']]).toEqual([1, 1, 0, 0]);
  expect(critical).toHaveLength(4);
  const path = join(out, 'results.json');
  expect(readResults(path).rows).toEqual(rows);
  expect(readFileSync(join(out, 'results.csv'), 'utf8').split('\n')).toHaveLength(names.length + 2);

  const bytes = readFileSync(path);
  const cells = readdirSync(join(out, 'cells'));
  const again = await runDuo([...args, ...cuts]);
  expect(again.stdout).toBe(first.stdout);
  expect(readFileSync(path)).toEqual(bytes);
  expect(readdirSync(join(out, 'cells'))).toEqual(cells);
});

it('prints a table of tasks', async () => {
  const task = ['--tasks', 'number-string', '--lengths', '256', '--task-samples', '1', '--depths', '2'];
  const { code, stdout, stderr } = await runDuo([...EVAL, ...task]);
  expect([code, stderr.includes('Expected')]).toEqual([0, false]);
  const lines = stdout.trim().split('\n');
  expect(lines[0]).toMatch(/^task +tokens +depth +mask +score +95 % interval +KV peak +KV footprint +seconds$/);
  expect(lines.slice(1).map((line) => line.split(/ {2,}/).slice(0, 4))).toEqual([
    ['number-string', '256', '0.0 %', 'full'],
    ['number-string', '256', '100.0 %', 'full'],
  ]);
});

it.each([
  [[], 'Expected --samples, --tasks or --suite to say what to evaluate on, got none.'],
  [['--tasks', 'nope'], 'got `nope`'],
  [['--tasks', 'niah', '--kv-dtype', 'int3'], 'Expected --kv-dtype to be one of f32, bf16, int8, fp8, k8v4, int4'],
  [
    ['--tasks', 'niah', '--kv-dtype', 'int4', '--engine', 'tensorflow', '--backend', 'cpu'],
    'Expected --kv-dtype f32 on the tensorflow engine, got int4; --engine native has it.',
  ],
  [
    ['--samples', 'none.jsonl', '--kv-dtype', 'int4'],
    'Expected --kv-dtype only with --suite or --tasks other than long-range',
  ],
  [
    ['--tasks', 'niah', '--lengths', '1m'],
    'Expected --lengths of at most the 4096 tokens that the model allows, got `1048576`.',
  ],
  [['--tasks', 'niah', '--gates', 'gates.json'], 'Expected --gates and --fractions or --kv-shares together'],
  [['--tasks', 'niah', '--prefill', 'chunked'], 'Expected --chunk-tokens with --prefill chunked'],
  [['--tasks', 'niah', '--baselines', 'random'], 'give one with --mask'],
  [
    ['--suite', 'mine:file'],
    'Expected a suite as kind:path with a kind of ruler, longbench, longbench-v2, infinitebench, kvpress',
  ],
])('refuses %j as wrong usage', async (flags, message) => {
  const { code, stdout, stderr } = await answerOf(...EVAL, ...flags);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toContain(message);
});

it('gives a task without its file a row that says why, and exit code 1', async () => {
  const { code, stdout, stderr } = await answerOf(...EVAL, '--tasks', 'qa_1', '--json');
  expect(code).toBe(1);
  expect(`${stdout}${stderr}`).toContain('give its path with --squad');
});

it('refuses a malformed suite by file and line', async () => {
  const bad = join(folder, 'vt.jsonl');
  writeFileSync(bad, '{"input": "a", "outputs": ["b"]}\n{"input": \n');
  const { code, stderr } = await answerOf(...EVAL, '--suite', `ruler:${bad}`);
  expect(code).toBe(1);
  expect(stderr).toContain(`Expected ${bad}, line 2 to be JSON`);
});

it('builds all tasks before it computes one, and prints and keeps the rows that are finished where it is stopped', async () => {
  const out = join(folder, 'stopped');
  const lengths = Array.from({ length: 40 }, (_, index) => String(300 + index)).join(',');
  const tasks = ['--tasks', 'number-string,qa_1', '--lengths', lengths, '--task-samples', '2', '--out', out];
  const { code, stdout, stderr } = await runDuo([...EVAL, ...tasks], {
    onStart: (kill) => {
      const watch = setInterval(() => {
        const cells = existsSync(join(out, 'cells')) ? readdirSync(join(out, 'cells')) : [];
        if (!cells.some((name) => name.endsWith('.json'))) return;
        clearInterval(watch);
        kill('SIGINT');
      }, 5);
    },
  });
  expect(code).toBe(130);
  expect(stderr.match(/qa_1 at 3\d\d tokens is left out: .*--squad/g)).toHaveLength(40);
  const { rows } = readResults(join(out, 'results.json'));
  const finished = rows.filter((row) => row.task === 'number-string');
  expect(finished.length).toBeGreaterThan(0);
  expect(finished.length).toBeLessThan(40);
  expect(stdout.split('\n').filter((line) => line.startsWith('number-string'))).toHaveLength(finished.length);
  expect(stderr).toContain(`the ${finished.length} rows that were finished are above`);
});
