// What samples are measured by: hidden states or the KL divergence of next-token distributions, for each objective, method and number of samples;
// kept gain on documents that nothing was learnt from, at shares of streaming heads and of KV entries (windows by head). Every step is a duo
// command, its log and result lie in <out>; a step whose result is there is not run again.
//   node bench/compare-distances.mjs --model <model> --learn <documents> --measure <documents> --out <folder> [--device cuda:0] [--seed 42]
//     [--jobs 4] [--budget-seconds 380] [--only <text>,<text>] [--shortest 2k] [--longest 8k] [--steps 250] [--samples 8,16] [--count 128]
//     [--sink 128] [--recent 256] [--ladder 256,512,1k,2k] [--shares 0.33,0.24,0.14] [--fractions 0.5,0.7,0.8,0.9] [--texts 20]
// Ends with <out>/distances.csv, on stdout too. Exit code 1: a step failed; 3: steps are left, because the budget is spent.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runSteps } from './compare/steps.mjs';
import { readFlags } from './read-flags.mjs';

const flags = readFlags(['model', 'learn', 'measure', 'out'], {
  device: 'cuda:0',
  seed: '42',
  jobs: '4',
  'budget-seconds': '1e6',
  only: '',
  shortest: '2k',
  longest: '8k',
  steps: '250',
  samples: '8,16',
  count: '128',
  sink: '128',
  recent: '256',
  ladder: '256,512,1k,2k',
  shares: '0.33,0.24,0.14',
  fractions: '0.5,0.7,0.8,0.9',
  texts: '20',
});
const out = resolve(flags.out);
const file = (name) => join(out, name);
mkdirSync(out, { recursive: true });

const step = (name, args, { result = file(`${name}.json`), needs = [] } = {}) => ({
  ...{ name, args, result, needs },
  ...{ output: file(`${name}.json`), log: file(`${name}.log`) },
});
const model = ['--model', flags.model];
const engine = ['--device', flags.device];
const view = ['--sink', flags.sink, '--recent', flags.recent, '--seed', flags.seed];

/** Samples by objective; of the longest alone where `isLong`. */
const samplesOf = (objective, isLong) => file(`samples/${objective}${isLong ? '-long' : ''}.jsonl`);
function generate(objective, isLong) {
  const passkeys = objective === 'long-range' ? [] : ['--haystack', flags.learn];
  const texts = objective === 'passkey' ? [] : ['--documents', flags.learn, ...engine, ...view.slice(0, 4)];
  const lengths = ['--min-tokens', isLong ? flags.longest : flags.shortest, '--max-tokens', flags.longest];
  const path = samplesOf(objective, isLong);
  const count = isLong ? flags.samples.split(',').at(-1) : flags.count;
  const common = ['--objective', objective, ...passkeys, ...texts, ...lengths, '--seed', flags.seed, '--count', count];
  const name = `samples/${objective}${isLong ? '-long' : ''}`;
  return step(name, ['generate', ...model, ...common, '--out', path, '--overwrite'], { result: path });
}

/** Method, objective and distance; of the quadratic method numbers of samples, of the longest alone, as `duo identify` measures a ladder, or of the
 * shortest to the longest. */
const [few, many] = flags.samples.split(',');
const quadratic = [
  ['both', 'auto', few],
  ['both', 'hidden', few],
  ['long-range', 'kl', few],
  ['long-range', 'hidden', few],
  ['both', 'auto', many],
  ['both', 'auto', few, false],
  ['both', 'kl', few],
  ['passkey', 'hidden', few],
  ['passkey', 'kl', few],
  ['long-range', 'kl', many],
].map(([objective, distance, samples, isLong = true]) => ({
  ...{ method: 'quadratic', objective, distance, samples, isLong },
  flags: ['--quadratic-samples', samples, '--windows', flags.ladder],
}));
const gates = [
  ['both', 'auto'],
  ['long-range', 'kl'],
  ['both', 'hidden'],
  ['long-range', 'hidden'],
  ['both', 'kl'],
  ['passkey', 'hidden'],
].map(([objective, distance]) => ({
  ...{ method: 'gates', objective, distance, samples: flags.steps, isLong: false },
  flags: ['--steps', flags.steps],
}));
const words = flags.only.split(',').filter((word) => word !== '');
const nameOf = ({ method, objective, distance, samples, isLong }) =>
  `${method}-${objective}-${distance}-${samples}${isLong ? '-long' : ''}`;
const rows = [...quadratic.slice(0, 6), ...gates.slice(0, 4), ...quadratic.slice(6), ...gates.slice(4)].filter(
  (row) => words.length === 0 || words.some((word) => nameOf(row).includes(word)),
);

function identify(row) {
  const run = file(`${nameOf(row)}/run`);
  const samples = samplesOf(row.objective, row.isLong);
  const own = ['--method', row.method, '--distance', row.distance, ...row.flags, '--samples', samples];
  const args = ['identify', ...model, ...own, ...view, '--streaming-fraction', '0.5', '--held-out-samples', '0'];
  const result = join(run, 'mask.json');
  return step(`${nameOf(row)}/identify`, [...args, ...engine, '--out', run, '--overwrite'], {
    ...{ result, needs: [samples] },
  });
}

function measureGain(row) {
  const run = file(`${nameOf(row)}/run`);
  const shares = row.method === 'quadratic' ? ['--kv-shares', flags.shares, '--at', flags.longest] : [];
  const cuts = ['--gates', run, '--fractions', flags.fractions, ...shares, '--baselines', 'full'];
  const task = ['--tasks', 'long-range', '--documents', flags.measure, '--lengths', flags.longest];
  const args = ['eval', ...model, ...engine, ...cuts, ...task, '--task-samples', flags.texts, '--json'];
  return step(`${nameOf(row)}/gain`, args, { needs: [join(run, 'mask.json')] });
}

const sources = [...new Map(rows.map((row) => [samplesOf(row.objective, row.isLong), row])).values()];
const steps = [
  ...sources.map(({ objective, isLong }) => generate(objective, isLong)),
  ...rows.flatMap((row) => [identify(row), measureGain(row)]),
];
const options = { jobs: Number(flags.jobs), budgetSeconds: Number(flags['budget-seconds']), say: console.log };
const { failed, left } = await runSteps(steps, {
  ...options,
  duo: fileURLToPath(new URL('../bin/duo.js', import.meta.url)),
});

const lines = ['method,objective,distance,samples,longest only,mask,kept gain,low,high,loss'];
const number = (value) => (value == null ? '' : value.toFixed(4));
for (const row of rows) {
  const path = file(`${nameOf(row)}/gain.json`);
  if (!existsSync(path)) continue;
  for (const found of JSON.parse(readFileSync(path, 'utf8')).rows) {
    const { method, objective, distance, samples, isLong } = row;
    const [low, high] = found.keptGainInterval ?? [];
    const kept = [found.keptGain, low, high, found.loss].map(number);
    if (found.mask !== 'full')
      lines.push([method, objective, distance, samples, isLong, found.mask, ...kept].join(','));
  }
}
writeFileSync(file('distances.csv'), `${lines.join('\n')}\n`);
console.log(`\n${lines.join('\n')}`);
process.exitCode = failed.length > 0 ? 1 : left.length > 0 ? 3 : 0;
