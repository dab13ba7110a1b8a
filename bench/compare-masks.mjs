// Which masks keep what long context gives: samples of each objective × methods, cut at shares of streaming heads, and windows by head beside one
// window at equal entries, all on documents and tasks that nothing was learnt from. Every step is a duo command, kept in <out>/<step>.log;
// a step whose result is there is not run again.
//   node bench/compare-masks.mjs --model <model> --learn <documents> --measure <documents> --out <folder> [--device cuda:0] [--seed 42]
//     [--shortest 2k] [--length 8k] [--texts 20] [--prompts 8] [--lengths 2k,4k,8k] [--steps 250] [--samples 8] [--windows 256,512,1k,2k] [--shares 0.33,0.24,0.14] [--skip-gates]
// Ends with <out>/comparison.csv and a table on stdout: kept gain of held-out text with its interval, and the mean score of the tasks.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeMaskFile } from '../dist/export/build-windows-mask.js';
import { cutWindows } from '../dist/export/cut-windows.js';
import { parseCount } from '../dist/src/config/flags.js';
import { readGates } from '../dist/src/formats/gates.js';
import { writeMask } from '../dist/src/formats/mask.js';

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string' },
    learn: { type: 'string' },
    measure: { type: 'string' },
    out: { type: 'string' },
    device: { type: 'string', default: 'cuda:0' },
    seed: { type: 'string', default: '42' },
    shortest: { type: 'string', default: '2k' },
    length: { type: 'string', default: '8k' },
    texts: { type: 'string', default: '20' },
    prompts: { type: 'string', default: '8' },
    lengths: { type: 'string', default: '2k,4k,8k' },
    steps: { type: 'string', default: '250' },
    samples: { type: 'string', default: '8' },
    windows: { type: 'string', default: '256,512,1k,2k' },
    shares: { type: 'string', default: '0.33,0.24,0.14' },
    'skip-gates': { type: 'boolean', default: false },
  },
});
for (const name of ['model', 'learn', 'measure', 'out']) {
  if (flags[name] === undefined) {
    console.error(`compare-masks: Expected --${name}, got none.`);
    process.exit(2);
  }
}
const out = resolve(flags.out);
const file = (name) => join(out, name);
const duo = fileURLToPath(new URL('../bin/duo.js', import.meta.url));
const FRACTIONS = '0.5,0.7,0.8,0.9';
const TASKS = ['niah_single_2', 'niah_multikey_1', 'niah_multiquery', 'vt', 'kv-retrieval'];
const OBJECTIVES = ['passkey', 'long-range', 'both'];
const SINK = '128';
const RECENT = '256';
mkdirSync(out, { recursive: true });

/** Run one duo command unless what it writes is there; its output is returned and kept. */
function step(name, args, written = file(`${name}.txt`)) {
  if (existsSync(written)) return existsSync(file(`${name}.txt`)) ? readFileSync(file(`${name}.txt`), 'utf8') : '';
  const startMs = performance.now();
  const done = spawnSync(process.execPath, [duo, ...args], { encoding: 'utf8', maxBuffer: 2 ** 29 });
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  writeFileSync(file(`${name}.log`), `duo ${args.join(' ')}\n${done.stderr}\nexit code ${done.status}, ${seconds} s\n`);
  console.log(`${done.status === 0 ? 'done  ' : 'FAILED'} ${name} (${seconds} s)`);
  if (done.status !== 0) {
    console.log(done.stderr.trim().split('\n').slice(-3).join('\n'));
    process.exitCode = 1;
    // Rows that could be computed are printed beside those that could not.
    if (!done.stdout.startsWith('{')) return '';
  }
  writeFileSync(file(`${name}.txt`), done.stdout);
  return done.stdout;
}

const model = ['--model', flags.model];
const engine = ['--device', flags.device];
const lengths = ['--min-tokens', flags.shortest, '--max-tokens', flags.length, '--seed', flags.seed];

/** Samples of one objective; passkeys lie in the documents to learn from. */
function makeSamples(objective) {
  const path = file(`samples-${objective}.jsonl`);
  const count = objective === 'long-range' ? '64' : flags.steps;
  const passkeys = ['--haystack', flags.learn];
  const texts = ['--documents', flags.learn, ...engine];
  const own = { passkey: passkeys, 'long-range': texts, both: [...passkeys, ...texts] }[objective];
  step(
    `generate-${objective}`,
    [
      'generate',
      ...model,
      '--objective',
      objective,
      ...own,
      ...lengths,
      '--count',
      count,
      '--out',
      path,
      '--overwrite',
    ],
    path,
  );
  return path;
}

function identify(name, more) {
  const run = file(`run-${name}`);
  const common = [
    '--sink',
    SINK,
    '--held-out-samples',
    '0',
    '--seed',
    flags.seed,
    '--out',
    run,
    '--overwrite',
    ...engine,
  ];
  step(`identify-${name}`, ['identify', ...model, ...common, ...more], join(run, 'mask.json'));
  return join(run, 'gates.json');
}

const measured = ['--lengths', flags.length, '--task-samples', flags.texts];
/** Rows of duo eval under masks: kept gain, then tasks at three lengths. */
function evaluate(name, masks) {
  const gain = step(`gain-${name}`, [
    'eval',
    ...model,
    ...masks,
    ...engine,
    '--tasks',
    'long-range',
    '--documents',
    flags.measure,
    ...measured,
    '--json',
  ]);
  const needles = [
    '--tasks',
    TASKS.join(','),
    '--essays',
    flags.measure,
    '--lengths',
    flags.lengths,
    '--task-samples',
    flags.prompts,
    '--concurrent',
    '4',
  ];
  const tasks = step(`tasks-${name}`, [
    'eval',
    ...model,
    ...masks,
    ...engine,
    ...needles,
    '--out',
    file(`cells-${name}`),
    '--json',
  ]);
  return [gain, tasks].flatMap((text) => (text === '' ? [] : JSON.parse(text).rows));
}

// Masks with one window: methods and objectives.
const names = [];
const gates = [];
for (const objective of OBJECTIVES) {
  const samples = makeSamples(objective);
  if (!existsSync(samples)) continue;
  const quadratic = [
    '--method',
    'quadratic',
    '--quadratic-samples',
    flags.samples,
    '--recent',
    RECENT,
    '--samples',
    samples,
  ];
  for (const [method, more] of [
    ['quadratic', quadratic],
    ['gates', ['--method', 'gates', '--steps', flags.steps, '--recent', RECENT, '--samples', samples]],
  ]) {
    if (method === 'gates' && flags['skip-gates']) continue;
    const path = identify(`${method}-${objective}`, more);
    if (!existsSync(path)) continue;
    const own = [...gates].filter((other) => other.includes(`run-${method}-`)).length;
    names.push([own === 0 ? method : `${method}-${own + 1}`, `${method} ${objective}`]);
    gates.push(path);
  }
}
const oneWindow = evaluate('one-window', [
  ...gates.flatMap((path) => ['--gates', path]),
  ...['--fractions', FRACTIONS, '--baselines', 'full,streaming,random', '--random-masks', '2', '--seed', flags.seed],
]);

// Windows by head from one ladder, beside the same ladder with one of its windows, at equal entries.
const samples = file('samples-both.jsonl');
const ladderGates = identify('ladder', [
  ...['--method', 'quadratic', '--quadratic-samples', flags.samples, '--recent', RECENT, '--samples', samples],
  ...['--windows', flags.windows],
]);
let byHead = [];
if (existsSync(ladderGates)) {
  const found = readGates(ladderGates);
  const paths = [];
  for (const share of flags.shares.split(',')) {
    const choices = [
      ['by-head', found.ladder.windows],
      ...found.ladder.windows.map((window) => [`window-${window}`, [window]]),
    ];
    for (const [name, windows] of choices) {
      const path = file(`${name}@${share}.json`);
      const ladder = pickWindows(found, windows);
      try {
        const cut = cutWindows(ladder, {
          kvShare: Number(share),
          atTokens: parseCount(flags.length),
          kvHeads: found.model.kvHeads,
        });
        writeMask(path, makeMaskFile({ ...found, ladder }, cut));
        paths.push(path);
      } catch (error) {
        console.log(`left out: ${name} at ${share}: ${error.message}`);
      }
    }
  }
  if (paths.length > 0)
    byHead = evaluate('by-head', [
      '--baselines',
      'full',
      ...paths.slice(1).flatMap((path) => ['--other-mask', path]),
      '--mask',
      paths[0],
    ]);
}

/** A ladder of fewer rungs: the rows and columns of the others left out. */
function pickWindows({ model: tag, ladder }, windows) {
  const rungs = windows.map((window) => ladder.windows.indexOf(window));
  const options = Array.from({ length: tag.layers * tag.kvHeads }, (_, head) =>
    rungs.map((rung) => head * ladder.windows.length + rung),
  ).flat();
  const effects = options.map((row, index) =>
    options.slice(0, index + 1).map((column) => ladder.effects[Math.max(row, column)][Math.min(row, column)]),
  );
  return { ...ladder, windows, effects };
}

// One line a mask: kept gain, and the mean over all tasks and lengths.
const title = (mask, group) => {
  if (mask === 'given' && group === 'by head') return `by-head@${flags.shares.split(',')[0]}`;
  const [, long] = names.find(([short]) => mask.startsWith(`${short}@`)) ?? [];
  return long === undefined ? mask : `${long}@${mask.split('@')[1]}`;
};
const lines = [['masks', 'mask', 'kept gain', 'low', 'high', 'loss', ...TASKS, 'mean score'].join(',')];
for (const [group, rows] of [
  ['one window', oneWindow],
  ['by head', byHead],
]) {
  for (const mask of new Set(rows.map((row) => row.mask))) {
    const own = rows.filter((row) => row.mask === mask);
    const gain = own.find((row) => row.task === 'long-range');
    const mean = (few) =>
      few.length === 0 ? '' : (few.reduce((sum, row) => sum + row.accuracy, 0) / few.length).toFixed(4);
    const scores = TASKS.map((task) => mean(own.filter((row) => row.task === task)));
    const number = (value, digits = 4) => (value == null ? '' : value.toFixed(digits));
    const kept = [
      number(gain?.keptGain),
      ...(gain?.keptGainInterval ?? [null, null]).map((bound) => number(bound)),
      number(gain?.loss, 5),
    ];
    lines.push(
      [group, title(mask, group), ...kept, ...scores, mean(own.filter((row) => row.task !== 'long-range'))].join(','),
    );
  }
}
writeFileSync(file('comparison.csv'), `${lines.join('\n')}\n`);
console.log(lines.join('\n'));
