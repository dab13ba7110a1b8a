// Which masks keep what long context gives: ways to score heads × what they learn from (compare/rows.mjs), cut at shares of streaming
// heads and measured on documents and tasks that nothing was learnt from; how far masks of other seeds and of disjoint documents agree;
// windows by head beside one window at equal entries. Every step is a duo command, its log and result lie in <out>; a step whose
// result is there is not run again, so that the same command goes on where a stopped one ended, and parts can be run one by one.
//   node bench/compare-masks.mjs --model <model> --learn <folder of documents> --measure <folder> --out <folder>
//     [--parts samples,identify,gain,tasks,stability,by-head] [--only <text>,<text>] [--budget-seconds 450] [--jobs 4] [--list]
//     [--device cuda:0] [--seeds 42,43,44] [--windows 128:256,16:64] [--shortest 2k] [--longest 8k] [--count 128] [--steps 250]
//     [--quadratic-samples 8] [--attention-samples 16] [--fractions 0.1,…] [--gain-lengths 8k] [--texts 20]
//     [--task-fractions 0.5,0.7,0.8,0.9] [--task-lengths 2k,4k,8k] [--prompts 8] [--task-measure generated] [--scores <kvpress JSON>]
//     [--ladder 256,512,1k,2k] [--shares 0.33,0.24,0.14]
// --only keeps steps whose name (`s128r256/gates-both/seed-42/gain`) holds one of the texts. Always ends with comparison.json,
// comparison.html and tables as CSV of what is there. Exit code 1: a step failed; 3: steps are left, because the budget is spent or what they need is missing.
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openModel } from '../dist/src/cli/open.js';
import { stableJson, writeFileAtomic } from '../dist/src/formats/atomic-file.js';
import { collect } from './compare/collect.mjs';
import { buildPage } from './compare/page.mjs';
import { listSteps, makeHalves, makeStep, Places } from './compare/plan.mjs';
import { ROWS } from './compare/rows.mjs';
import { writeFileScores, writeRandomScores } from './compare/scores.mjs';
import { runSteps } from './compare/steps.mjs';
import { listWindowSteps, measureLadder } from './compare/windows.mjs';

const PARTS = ['samples', 'identify', 'gain', 'tasks', 'stability', 'by-head'];
const text = (value) => ({ type: 'string', default: value });
const { values: flags } = parseArgs({
  options: {
    model: { type: 'string' },
    learn: { type: 'string' },
    measure: { type: 'string' },
    out: { type: 'string' },
    parts: text(PARTS.join(',')),
    only: text(''),
    'budget-seconds': text('1e9'),
    jobs: text('1'),
    list: { type: 'boolean', default: false },
    device: text('cuda:0'),
    seeds: text('42,43,44'),
    windows: text('128:256,16:64'),
    shortest: text('2k'),
    longest: text('8k'),
    count: text('128'),
    steps: text('250'),
    'quadratic-samples': text('8'),
    'attention-samples': text('16'),
    fractions: text('0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9'),
    'gain-lengths': text('8k'),
    texts: text('20'),
    'task-fractions': text('0.5,0.7,0.8,0.9'),
    'task-lengths': text('2k,4k,8k'),
    prompts: text('8'),
    'task-measure': text('generated'),
    scores: { type: 'string' },
    ladder: text('256,512,1k,2k'),
    shares: text('0.33,0.24,0.14'),
    title: text('Masks compared'),
  },
});

function refuse(message) {
  console.error(`compare-masks: ${message}`);
  process.exit(2);
}

function readFlags() {
  for (const name of ['model', 'learn', 'measure', 'out'])
    if (flags[name] === undefined) refuse(`Expected --${name}, got none.`);
  for (const name of ['learn', 'measure']) {
    if (!existsSync(flags[name]) || !statSync(flags[name]).isDirectory())
      refuse(`Expected --${name} to be a folder of documents, got ${flags[name]}.`);
  }
  const count = (name) => {
    const value = Number(flags[name]);
    if (!Number.isInteger(value) || value < 1)
      refuse(`Expected --${name} to be an integer of at least 1, got ${flags[name]}.`);
    return value;
  };
  const parts = flags.parts.split(',');
  const unknown = parts.find((part) => !PARTS.includes(part));
  if (unknown !== undefined) refuse(`Expected --parts of ${PARTS.join(', ')}, got ${unknown}.`);
  const windows = flags.windows.split(',').map((pair) => {
    const [, sink, recent] =
      pair.match(/^(\d+):(\d+)$/) ?? refuse(`Expected --windows to be pairs such as 128:256, got ${pair}.`);
    return { name: `s${sink}r${recent}`, sink, recent };
  });
  const seeds = flags.seeds.split(',').map(Number);
  if (seeds.some((seed) => !Number.isInteger(seed) || seed < 0))
    refuse(`Expected --seeds to be whole numbers, got ${flags.seeds}.`);
  const budgetSeconds = Number(flags['budget-seconds']);
  if (!(budgetSeconds > 0)) refuse(`Expected --budget-seconds to be a number above 0, got ${flags['budget-seconds']}.`);
  return {
    ...{ parts, windows, seeds, jobs: count('jobs'), only: flags.only.split(',').filter((word) => word !== '') },
    // a timer of Node ends at 2^31 ms
    budgetSeconds: Math.min(budgetSeconds, 2_000_000),
    model: ['--model', flags.model],
    engine: ['--device', flags.device],
    ...{
      learn: flags.learn,
      measure: flags.measure,
      scores: flags.scores,
      shortest: flags.shortest,
      longest: flags.longest,
    },
    ...{ count: count('count'), steps: count('steps'), texts: count('texts'), prompts: count('prompts') },
    ...{ quadraticSamples: count('quadratic-samples'), attentionSamples: count('attention-samples') },
    ...{ fractions: flags.fractions, gainLengths: flags['gain-lengths'], taskFractions: flags['task-fractions'] },
    ...{
      taskLengths: flags['task-lengths'],
      taskMeasure: flags['task-measure'],
      ladder: flags.ladder,
      shares: flags.shares.split(','),
    },
  };
}

/** What no duo command makes: scores of a file and random ones, and the halves of the documents. */
async function prepare(asked, places) {
  const folder = await openModel(flags.model);
  try {
    for (const window of asked.windows) {
      for (const row of ROWS.filter(({ scores }) => scores !== undefined)) {
        const seeds = row.scores === 'random' ? asked.seeds : asked.scores === undefined ? [] : asked.seeds.slice(0, 1);
        for (const seed of seeds) {
          mkdirSync(places.run({ row, window, seed }), { recursive: true });
          const path = places.gates({ row, window, seed });
          const view = { sink: Number(window.sink), recent: Number(window.recent) };
          if (row.scores === 'random') writeRandomScores(path, { seed, folder, window: view });
          else writeFileScores(path, { scoresPath: asked.scores, folder, window: view });
        }
      }
    }
  } finally {
    folder.close();
  }
  if (asked.parts.includes('stability')) makeHalves(asked.learn, places);
}

const asked = readFlags();
const places = new Places(flags.out);
mkdirSync(places.out, { recursive: true });
const say = (line) => console.log(line);
const startMs = performance.now();
const isWanted = ({ name, part }) =>
  asked.parts.includes(part) && (asked.only.length === 0 || asked.only.some((word) => name.includes(word)));
const byHead = makeStep(places, 'by-head');
const options = () => ({
  duo: fileURLToPath(new URL('../bin/duo.js', import.meta.url)),
  jobs: asked.jobs,
  budgetSeconds: asked.budgetSeconds - (performance.now() - startMs) / 1000,
  say,
});

const steps = [...listSteps(asked, places), measureLadder(asked, places, byHead)].filter(isWanted);
if (flags.list) {
  for (const { name, args, result } of steps)
    say(`${existsSync(result) ? 'there  ' : 'missing'} ${name}: duo ${args.join(' ')}`);
  process.exit(0);
}
await prepare(asked, places);
const first = await runSteps(steps, options());
// masks of windows by head are cut from what the ladder's step measured
const later = await runSteps(listWindowSteps(asked, places, { step: byHead, say }).filter(isWanted), options());
const [failed, left] = [
  [...first.failed, ...later.failed],
  [...first.left, ...later.left],
];

const found = collect(asked, places);
const commit = process.env.DUO_COMMIT === undefined ? '' : ` Commit ${process.env.DUO_COMMIT}.`;
const lead = `Model ${flags.model.split('/').at(-1)}, samples of ${asked.shortest} to ${asked.longest} tokens, seeds ${asked.seeds.join(', ')}, device ${flags.device}.${commit}`;
const page = buildPage(found, { title: flags.title, lead });
writeFileAtomic(places.file('comparison.json'), stableJson({ asked, ...found }));
writeFileAtomic(places.file('comparison.html'), page.html);
for (const { name, csv } of page.tables) writeFileAtomic(join(places.out, `${name}.csv`), csv);
for (const { csv } of page.tables) say(`\n${csv.trim()}`);
say(
  `\n${((performance.now() - startMs) / 1000).toFixed(0)} s; failed ${failed.length}, left ${left.length}${left.length > 0 ? `: ${left.slice(0, 8).join(' ')}` : ''}`,
);
process.exitCode = failed.length > 0 ? 1 : left.length > 0 ? 3 : 0;
