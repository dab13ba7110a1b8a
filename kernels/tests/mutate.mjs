#!/usr/bin/env node
// Do the tests see a wrong kernel? Applies each one-line mutant of mutants.txt to a copy of kernels/, rebuilds what it changed under the CUDA emulation and
// runs the test that the list names for it: a mutant that passes has survived. Every __global__ function must have a mutant of its own.
//   node kernels/tests/mutate.mjs [--jobs 2] [--only text] [--record file.tsv] [--skip other.tsv] [--first] [--folder /tmp/duo-mutants]
// --check: only whether every mutant's text is in its file and every kernel has one. --only (may be given again): mutants whose file, test or text holds it. --record: a row is appended
// as each mutant ends, and mutants that have a row there or in a --skip are not run. --first: a test is stopped at its first failed check. Tests of single
// operations come first, which take seconds, whole models minutes, and of those the files that no other includes. Exit code 1 where one survives, does not apply or does not compile, or a kernel has none.
import { spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const KERNELS = dirname(dirname(fileURLToPath(import.meta.url)));
const TEST_SECONDS = 240; // of CPU time, so that a busy machine makes no mutant look caught
const WAIT_SECONDS = 3600; // of a clock, for a test that waits without computing
const { values: flags } = parseArgs({
  options: {
    jobs: { type: 'string', default: String(Math.min(2, cpus().length)) },
    only: { type: 'string', multiple: true, default: [''] },
    check: { type: 'boolean', default: false },
    record: { type: 'string' },
    first: { type: 'boolean', default: false },
    skip: { type: 'string', multiple: true, default: [] },
    folder: { type: 'string', default: join(tmpdir(), 'duo-mutants') },
  },
});

/** The list: "@ file : program arguments", pairs of "- text" (once in the file; "-2 text": its second place) and "+ text", and "! file kernel : reason". */
const excused = new Set();
function readMutants() {
  const mutants = [];
  let file;
  let test;
  let from;
  for (const line of readFileSync(join(KERNELS, 'tests/mutants.txt'), 'utf8').split('\n')) {
    if (line.startsWith('! ')) excused.add(line.slice(2).split(' : ')[0]);
    if (line.startsWith('@ ')) [file, test] = line.slice(2).split(' : ');
    const removed = /^-(\d*) (.*)$/.exec(line);
    if (removed) from = { text: removed[2], place: Number(removed[1] || 0) };
    if (line.startsWith('+')) mutants.push({ file, test, from, to: line.slice(2) });
  }
  return mutants;
}

/** Where the mutant's text is, however the file breaks its lines: [begin, end), or why it cannot be said. */
function locate(source, { text, place }) {
  const tokens = text.match(/\w+|[^\w\s]/g).map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const found = [...source.matchAll(new RegExp(tokens.join('\\s*'), 'g'))];
  if (found.length === 0) return 'the text is not in the file';
  if (place === 0 && found.length > 1) return `the text is ${found.length} times in the file`;
  const match = found[Math.max(0, place - 1)];
  return match ? [match.index, match.index + match[0].length] : `the text is only ${found.length} times in the file`;
}

/** The kernel that an offset lies in: the last __global__ function before it, where it is not past that function's end; else ''. */
function kernelAt(source, offset) {
  let name = '';
  for (const found of source.matchAll(/__global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(/g)) {
    if (found.index > offset) break;
    const end = source.indexOf('\n}', found.index);
    name = offset <= end ? found[1] : '';
  }
  return name;
}

function listKernels() {
  const kernels = new Map();
  for (const name of readdirSync(join(KERNELS, 'cuda'))) {
    if (!name.endsWith('.cu')) continue;
    const source = readFileSync(join(KERNELS, 'cuda', name), 'utf8');
    for (const found of source.matchAll(/__global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(/g))
      kernels.set(`${name} ${found[1]}`, 0);
  }
  return kernels;
}

/** What a record's rows are known by; each row stands for one mutant of the list. */
const rowKey = (columns) => columns.map((text) => text.trim()).join('\t');

function readRecord(path) {
  const counts = new Map();
  const [head, ...rows] = readFileSync(path, 'utf8').trimEnd().split('\n');
  const names = head.split('\t');
  const result = names.indexOf('result');
  const columns = ['where', 'to'].map((name) => names.indexOf(name));
  if (result < 0 || columns.includes(-1))
    throw new Error(
      `Expected ${path} to start with a line that names the columns result, where and to, found "${head}"`,
    );
  for (const row of rows) {
    const cells = row.split('\t');
    // The line's number is left out: it moves with the lines above.
    const key = rowKey(columns.map((column) => cells[column].replace(/:\d+ /, ' ')));
    if (cells[result].startsWith('caught')) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

function run(command, parameters, options = {}) {
  return new Promise((resolve) => {
    const { until, ...rest } = options;
    const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'pipe'], ...rest });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output = (output + data).slice(-20000);
        if (until?.test(output)) child.kill('SIGKILL');
      });
    const timer = setTimeout(() => child.kill('SIGKILL'), WAIT_SECONDS * 1000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ ok: code === 0, code, signal, output });
    });
  });
}

async function prepare(job) {
  const root = join(flags.folder, String(job));
  rmSync(join(root, 'kernels'), { recursive: true, force: true });
  mkdirSync(join(root, 'kernels'), { recursive: true });
  for (const entry of readdirSync(KERNELS)) {
    if (!entry.startsWith('build')) cpSync(join(KERNELS, entry), join(root, 'kernels', entry), { recursive: true });
  }
  const build = join(root, 'build');
  const launcher = spawnSync('ccache', ['--version']).status === 0 ? ['-DCMAKE_CXX_COMPILER_LAUNCHER=ccache'] : [];
  const generator = spawnSync('ninja', ['--version']).status === 0 ? ['-G', 'Ninja'] : [];
  const configured = await run('cmake', [
    '-S',
    join(root, 'kernels'),
    '-B',
    build,
    ...generator,
    ...launcher,
    '-DCMAKE_BUILD_TYPE=Release',
    '-DDUO_CUDA=EMULATED',
    '-DDUO_TESTS=ON',
  ]);
  if (!configured.ok) throw new Error(configured.output);
  return { root, build };
}
const programOf = (test) => test.split(' ')[0];
// One compiler a job; paths of the copy are relative to ccache, so that the copies share what they compile.
const buildTest = ({ root, build }, test) =>
  run('cmake', ['--build', build, '--parallel', '1', '--target', programOf(test)], {
    env: { ...process.env, CCACHE_BASEDIR: root, CCACHE_NOHASHDIR: '1' },
  });
const runTest = ({ build }, test, options) => {
  const [program, ...parameters] = test.split(' ');
  const limited = 'ulimit -t "$1"; shift; exec stdbuf -oL "$@"';
  const command = [join(build, 'tests/cuda', program), ...parameters];
  return run('bash', ['-c', limited, 'limited', String(TEST_SECONDS), ...command], options);
};

const began = Date.now();
const mutants = readMutants().filter((mutant) =>
  flags.only.some((wanted) =>
    [mutant.file, mutant.test, mutant.from.text, mutant.to].some((text) => text.includes(wanted)),
  ),
);
const kernels = listKernels();
for (const mutant of mutants) {
  const source = readFileSync(join(KERNELS, mutant.file), 'utf8');
  const at = locate(source, mutant.from);
  if (typeof at === 'string') {
    mutant.result = `does not apply: ${at}`;
    continue;
  }
  const [begin, end] = at;
  mutant.line = source.slice(0, begin).split('\n').length;
  mutant.kernel = kernelAt(source, begin);
  mutant.changed = source.slice(0, begin) + mutant.to + source.slice(end);
  const key = `${basename(mutant.file)} ${mutant.kernel}`;
  if (kernels.has(key)) kernels.set(key, kernels.get(key) + 1);
}
const bare = [...kernels].filter(([name, count]) => count === 0 && !excused.has(name)).map(([name]) => name);
if (flags.check) {
  const astray = mutants.filter((mutant) => mutant.result !== undefined);
  for (const { file, result, from } of astray) console.error(`${file}: ${result}: ${from.text}`);
  for (const name of bare) console.error(`${name} has no mutant`);
  console.log(
    `${mutants.length - astray.length} of ${mutants.length} mutants apply, ${kernels.size - bare.length} of ${kernels.size} kernels have one or say why not`,
  );
  process.exit(astray.length + bare.length === 0 ? 0 : 1);
}

const recorded = new Map();
const records = [...flags.skip, ...(flags.record !== undefined && existsSync(flags.record) ? [flags.record] : [])];
for (const path of records) {
  for (const [key, count] of readRecord(path)) recorded.set(key, (recorded.get(key) ?? 0) + count);
}
for (const mutant of mutants) {
  const key = rowKey([`${mutant.file} ${mutant.kernel}`, mutant.to]);
  if (mutant.result !== undefined || !recorded.get(key)) continue;
  mutant.result = 'caught, as recorded';
  recorded.set(key, recorded.get(key) - 1);
}
const left = mutants.filter((mutant) => mutant.result === undefined);
console.log(`${left.length} of ${mutants.length} mutants are to be run`);

const commit = spawnSync('git', ['-C', KERNELS, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout.trim();
if (flags.record !== undefined && !existsSync(flags.record))
  writeFileSync(flags.record, 'result\tfailed checks\tcommit\ttest\twhere\tfrom\tto\n');

const workers = [];
for (let job = 0; job < Number(flags.jobs); job++) workers.push(await prepare(job));

// Without a mutant, every test passes: run once, before its first mutant.
const passes = new Map();
async function findPass(worker, test) {
  const built = await buildTest(worker, test);
  if (!built.ok) throw new Error(`${test} does not build:\n${built.output}`);
  const passed = await runTest(worker, test);
  if (!passed.ok) throw new Error(`${test} fails without a mutant:\n${passed.output}`);
}

const costOf = ({ test, file }) => 2 * Number(programOf(test) !== 'test_cuda_ops') + Number(file.endsWith('.h'));
left.sort((a, b) => costOf(a) - costOf(b));
let next = 0;
await Promise.all(
  workers.map(async (worker) => {
    while (next < left.length) {
      const mutant = left[next++];
      if (!passes.has(mutant.test)) passes.set(mutant.test, findPass(worker, mutant.test));
      await passes.get(mutant.test);
      const path = join(worker.root, 'kernels', mutant.file);
      const original = readFileSync(path, 'utf8');
      writeFileSync(path, mutant.changed);
      const built = await buildTest(worker, mutant.test);
      if (built.ok) {
        const tested = await runTest(worker, mutant.test, flags.first ? { until: /^FAILED/m } : {});
        const failed = /(\d+) checks, (\d+) failed/.exec(tested.output)?.[2];
        const isFirst = flags.first && /^FAILED/m.test(tested.output);
        mutant.checks = failed ?? (isFirst ? '1 or more' : tested.ok ? '0' : 'stopped');
        const isEnded = tested.signal !== null && !isFirst;
        mutant.result = tested.ok ? 'SURVIVED' : isEnded ? `caught: ended by ${tested.signal}` : 'caught';
      } else {
        mutant.result = 'does not compile';
        mutant.log = built.output.slice(-1500);
      }
      writeFileSync(path, original);
      if (flags.record !== undefined) {
        const where = `${mutant.file}:${mutant.line} ${mutant.kernel}`;
        const cells = [mutant.result, mutant.checks ?? '', commit, mutant.test, where, mutant.from.text, mutant.to];
        appendFileSync(flags.record, `${cells.map((cell) => cell.trim()).join('\t')}\n`);
      }
      console.log(
        `${mutant.result}\t${mutant.checks ?? ''}\t${mutant.file}:${mutant.line} ${mutant.kernel}\t${mutant.to.trim()}`,
      );
      if (mutant.log) console.log(mutant.log);
    }
  }),
);
const bad = mutants.filter((mutant) => !mutant.result.startsWith('caught'));
for (const mutant of bad)
  console.log(`${mutant.result}: ${mutant.file} (${mutant.test})\n  - ${mutant.from.text}\n  + ${mutant.to}`);
const without = flags.only.includes('')
  ? [...kernels].filter(([name, count]) => count === 0 && !excused.has(name)).map(([name]) => name)
  : [];
for (const name of without) console.log(`no mutant: ${name}`);
const summary = `${mutants.length - bad.length} of ${mutants.length} mutants caught, ${kernels.size - without.length} of ${kernels.size} kernels have one, ${((Date.now() - began) / 60000).toFixed(1)} minutes on ${flags.jobs} cores`;
console.log(summary);
process.exitCode = bad.length + without.length > 0 ? 1 : 0;
