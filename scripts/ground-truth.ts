// Which heads of a small model are truly needed, and how near a method's ranking comes: each head alone forced to stream, greedy
// removal, and recall at every budget for greedy removal, gates files and random orders, on held-out samples.
// `npx tsx scripts/ground-truth.ts --model demo --gates gates=runs/demo-42/gates.json --out <dir>`
// Greedy removal chooses on samples of its own, so that its curve is no better than a choice can be on samples it has not seen.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { rankGates } from '../export/rank.ts';
import { openEngine, openModel } from '../src/cli/open.ts';
import { loadPreset } from '../src/config/presets.ts';
import { makeRandom } from '../src/core/random.ts';
import type { Sample, Window } from '../src/core/shapes.ts';
import type { Engine } from '../src/engine/engine.ts';
import { stableJson, writeFileAtomic } from '../src/formats/atomic-file.ts';
import { readGates } from '../src/formats/gates.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import { ablateHeads, type HeadPlace, removeGreedily } from './ground-truth/ground-truth.ts';
import { MaskScores } from './ground-truth/mask-scores.ts';
import { type BudgetCurve, formatCurvesCsv, measureCurve, summariseCurve } from './ground-truth/removal-curve.ts';
import { openSampleMaker } from './ground-truth-samples.ts';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'demo' },
    /** preset: window, and wording of the task `passkey` */
    config: { type: 'string', default: 'demo' },
    /** `passkey` (the training task, held out), or tasks of `duo eval` */
    tasks: { type: 'string', default: 'passkey' },
    wording: { type: 'string', default: 'small-vocabulary' },
    lengths: { type: 'string', default: '256,512,1024' },
    /** held-out samples that every curve is measured on, over all lengths */
    samples: { type: 'string', default: '24' },
    /** samples that greedy removal chooses on */
    'choice-samples': { type: 'string', default: '12' },
    /** `name=file` or a file, again for more: rankings to compare */
    gates: { type: 'string', multiple: true, default: [] },
    'random-orders': { type: 'string', default: '3' },
    seed: { type: 'string', default: '42' },
    engine: { type: 'string', default: 'native' },
    /** folder for the scores of single masks, with which a stopped run goes on */
    cells: { type: 'string' },
    out: { type: 'string' },
  },
});

interface TaskTruth {
  readonly task: string;
  readonly scores: MaskScores;
  readonly samples: readonly Sample[];
  readonly removals: readonly HeadPlace[];
  readonly heads: Awaited<ReturnType<typeof ablateHeads>>;
}

const writeProgress =
  (label: string) =>
  (done: number, total: number): void => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${label} ${done}/${total}`);
    else if (done === total) process.stderr.write(`${label} done\n`);
  };

async function findTruth(options: {
  engine: Engine;
  folder: ModelFolder;
  window: Window;
  task: string;
  makeSamples: Awaited<ReturnType<typeof openSampleMaker>>;
}): Promise<TaskTruth> {
  const { engine, folder, window, task, makeSamples } = options;
  const samples = makeSamples({ task, count: Number(values.samples), use: 'measure' });
  const choice = makeSamples({ task, count: Number(values['choice-samples']), use: 'choose' });
  const open = (own: readonly Sample[], name: string): MaskScores => {
    const cells = values.cells === undefined ? {} : { cellsPath: join(values.cells, `${task}-${name}.jsonl`) };
    return new MaskScores({ engine, window, samples: own, model: folder.fingerprint ?? folder.path, ...cells });
  };
  const scores = open(samples, 'measure');
  const heads = await ablateHeads(scores, writeProgress(`${task}: heads alone`));
  const removals = await removeGreedily(open(choice, 'choose'), writeProgress(`${task}: greedy removal`));
  return { task, scores, samples, removals, heads };
}

const folder = await openModel(values.model);
const engine = await openEngine(folder, { engine: values.engine });
const { config } = loadPreset(values.config);
const window = { sinkTokens: config.sinkTokens, recentTokens: config.recentTokens };
for (const path of [values.cells, values.out]) if (path !== undefined) mkdirSync(path, { recursive: true });
const makeSamples = await openSampleMaker({
  folder,
  config,
  wording: values.wording as 'plain' | 'small-vocabulary',
  lengths: values.lengths.split(',').map(Number),
  seed: Number(values.seed),
});

const truths: TaskTruth[] = [];
for (const task of values.tasks.split(',')) {
  truths.push(await findTruth({ engine, folder, window, task, makeSamples }));
}
const { layers, kvHeads } = engine.model;
const places = truths[0]?.heads.map(({ layer, head }) => ({ layer, head })) ?? [];
const orders: { name: string; order: readonly HeadPlace[] }[] = [
  ...truths.map(({ task, removals }) => ({ name: `greedy on ${task}`, order: removals })),
  ...values.gates.map((text) => {
    const [, name = 'gates', path = text] = /^([^=/]+)=(.+)$/.exec(text) ?? [];
    return { name, order: rankGates(readGates(path).gates) };
  }),
  ...Array.from({ length: Number(values['random-orders']) }, (_, index) => ({
    name: `random ${index}`,
    order: makeRandom(Number(values.seed), 'random-order', index).shuffle(places),
  })),
];

const tasks = [];
const curves: BudgetCurve[] = [];
for (const { task, scores, samples, removals, heads } of truths) {
  const own: BudgetCurve[] = [];
  for (const { name, order } of orders) {
    own.push(await measureCurve({ task, name, order, scores, samples, window }));
    console.error(`${task}: curve of ${name} done`);
  }
  curves.push(...own);
  tasks.push({
    task,
    heads,
    removals: removals.map(({ layer, head }) => `${layer}.${head}`).join(' '),
    summaries: own.map(summariseCurve),
  });
}

const { name, device } = engine;
const settings = {
  ...window,
  lengths: values.lengths.split(',').map(Number),
  samples: Number(values.samples),
  choiceSamples: Number(values['choice-samples']),
  seed: Number(values.seed),
};
if (values.out !== undefined) {
  const about = { model: values.model, fingerprint: folder.fingerprint, engine: name, device };
  writeFileAtomic(
    join(values.out, 'ground-truth.json'),
    stableJson({ schema: 'duo.ground-truth', version: 1, ...about, settings, layers, kvHeads, tasks }),
  );
  writeFileAtomic(join(values.out, 'budgets.csv'), formatCurvesCsv(curves));
}
await engine.close();
folder.close();

console.log(
  '| task | full | ranking | equals full down to | recall with one head less | 99 % of full down to | 90 % of full down to |\n|---|---|---|---|---|---|---|',
);
for (const { task, summaries } of tasks) {
  for (const { name: ranking, full, equal, keeps99, keeps90, afterEqual } of summaries) {
    const kept = (streaming: number): string => `${places.length - streaming} of ${places.length} heads`;
    const next = afterEqual === null ? '–' : `${(100 * afterEqual).toFixed(1)} %`;
    console.log(
      `| ${task} | ${(100 * full).toFixed(1)} % | ${ranking} | ${kept(equal)} | ${next} | ${kept(keeps99)} | ${kept(keeps90)} |`,
    );
  }
}
