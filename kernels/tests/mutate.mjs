#!/usr/bin/env node
// Do the tests see a wrong kernel? Puts the one-line mutants of mutants.txt into a copy of kernels/, each behind a
// condition (mutate/conditions.mjs), builds it once under the CUDA emulation and runs for each mutant the test that the
// list names for it: a mutant that passes has survived. What no condition can hold is compiled by itself. Every
// __global__ function must have a mutant of its own.
//   node kernels/tests/mutate.mjs [--jobs 2] [--only text] [--record file.tsv] [--skip other.tsv] [--first]
//     [--folder /tmp/duo-mutants]
// --check: only whether every mutant's text is in its file and every kernel has one. --only (may be given again):
// mutants whose file, test or text holds it. --record: a row is appended as each mutant ends, and mutants that have a
// row there or in a --skip are not run. --first: a test is stopped at its first failed check. --folder: where copies and
// builds are kept. Tests of single operations come first. Exit code 1 where one survives, does not apply or does not
// compile, or a kernel has none.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readList } from './mutate/list.mjs';
import { appendRow, markRecorded } from './mutate/record.mjs';
import { runInOneProgram, runOneByOne } from './mutate/run.mjs';
import { programOf } from './mutate/tree.mjs';

const KERNELS = dirname(dirname(fileURLToPath(import.meta.url)));
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

const began = Date.now();
const list = readList(KERNELS);
const mutants = list.mutants.filter(({ file, test, from, to }) =>
  flags.only.some((wanted) => [file, test, from.text, to].some((text) => text.includes(wanted))),
);
const bare = flags.check || flags.only.includes('') ? list.bare : [];
const countKernels = `${list.kernels.size - bare.length} of ${list.kernels.size} kernels`;
if (flags.check) {
  const astray = mutants.filter((mutant) => mutant.result !== undefined);
  for (const { file, result, from } of astray) console.error(`${file}: ${result}: ${from.text}`);
  for (const name of bare) console.error(`${name} has no mutant`);
  const applied = `${mutants.length - astray.length} of ${mutants.length} mutants apply`;
  console.log(`${applied}, ${countKernels} have one or say why not`);
  process.exit(astray.length + bare.length === 0 ? 0 : 1);
}

markRecorded(mutants, [
  ...flags.skip,
  ...(flags.record !== undefined && existsSync(flags.record) ? [flags.record] : []),
]);
const costOf = ({ test, file }) => 2 * Number(programOf(test) !== 'test_cuda_ops') + Number(file.endsWith('.h'));
const left = mutants.filter((mutant) => mutant.result === undefined).sort((a, b) => costOf(a) - costOf(b));
console.log(`${left.length} of ${mutants.length} mutants are to be run`);

const commit = spawnSync('git', ['-C', KERNELS, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout.trim();
const run = {
  kernels: KERNELS,
  folder: flags.folder,
  jobs: Number(flags.jobs),
  first: flags.first,
  sources: list.sources,
  all: list.mutants.filter((mutant) => mutant.changed !== undefined),
  finish(mutant) {
    if (flags.record !== undefined) appendRow(flags.record, mutant, commit);
    const { result, checks = '', file, line, kernel, to, log } = mutant;
    console.log(`${result}\t${checks}\t${file}:${line} ${kernel}\t${to.trim()}`);
    if (log) console.log(log);
  },
};
const rest = await runInOneProgram(left, run);
console.log(`${left.length - rest.length} ran in one program, ${rest.length} are compiled one by one`);
await runOneByOne(rest, run);

const bad = mutants.filter((mutant) => !mutant.result.startsWith('caught'));
for (const { result, file, test, from, to } of bad)
  console.log(`${result}: ${file} (${test})\n  - ${from.text}\n  + ${to}`);
for (const name of bare) console.log(`no mutant: ${name}`);
const caught = `${mutants.length - bad.length} of ${mutants.length} mutants caught, ${countKernels} have one`;
console.log(`${caught}, ${((Date.now() - began) / 60000).toFixed(1)} minutes on ${flags.jobs} cores`);
process.exitCode = bad.length + bare.length > 0 ? 1 : 0;
