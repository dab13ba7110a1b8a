// Compares the ways to score heads on a small model: `npx tsx scripts/compare-methods.ts --model models/demo --preset demo`.
// Each gives a ranking; recall of its mask is measured at every budget on held-out samples, beside greedy removal as ground truth,
// with seconds, forward passes, agreement with the optimised gates, and how the quadratic's masks depend on samples and seeds.
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { rankPath } from '../export/cut-path.ts';
import { rankGates } from '../export/rank.ts';
import { filledGrid, type GateGrid } from '../src/core/shapes.ts';
import { comparePairs } from '../src/eval/metrics/confidence.ts';
import { stableJson, writeFileAtomic } from '../src/formats/atomic-file.ts';
import { readMask, toHeadMask } from '../src/formats/mask.ts';
import { hashMask } from '../src/formats/mask-hash.ts';
import { findMethod } from '../train/methods/index.ts';
import { countMeasureForwards, countOptimizerForwards, countQuadraticForwards } from '../train/quadratic/cost.ts';
import { identifyQuadratic } from '../train/quadratic/identify-quadratic.ts';
import { measureSample, type ProbeStep, requireProbing } from '../train/quadratic/measure-sample.ts';
import { cutRanked, makeScratchFiles, meanOf, openSetup, type Setup } from './compare-setup.ts';
import { convertRemovalsToGates, findClearBudgets, removeGreedily } from './ground-truth/ground-truth.ts';
import { MaskScores } from './ground-truth/mask-scores.ts';

/** Samples of a quadratic round, and of methods that average over samples. */
const SAMPLES = 4;
/** Heads matter at a budget beside which greedy removal loses this much recall. */
const TELLING_LOSS = 0.01;
/** Disjoint sets of samples, every two of which are compared; the first is the one that the candidates are measured on. */
const SAMPLE_SETS = [0, 1000, 2000, 3000];

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'models/demo' },
    preset: { type: 'string', default: 'demo' },
    engine: { type: 'string', default: 'native' },
    'held-out': { type: 'string', default: '32' },
    'greedy-samples': { type: 'string', default: '16' },
    'budget-step': { type: 'string', default: '1' },
    'sample-counts': { type: 'string', default: '1,2,4,8,16' },
    sink: { type: 'string' },
    recent: { type: 'string' },
    'no-attention': { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});

interface Candidate {
  readonly name: string;
  /** ranking; for the gates and the quadratic the order alone counts */
  readonly ranking: GateGrid;
  /** gates at the preset's λ, where the method has such */
  readonly gates: GateGrid | null;
  readonly seconds: number;
  readonly forwards: number | null;
}

async function time<T>(work: () => Promise<T>): Promise<[result: T, seconds: number]> {
  const start = performance.now();
  const result = await work();
  return [result, (performance.now() - start) / 1000];
}

async function runQuadratic(
  setup: Setup,
  options: { samples: number; rounds: number; step: ProbeStep; firstSample: number },
): Promise<{ gates: GateGrid; ranking: GateGrid; pathRanking: GateGrid; roundsDone: number }> {
  const { engine, window, settings, sampleAt } = setup;
  const { samples, rounds, step, firstSample } = options;
  const {
    gates,
    path,
    rounds: done,
  } = await identifyQuadratic({
    settings: { samples, rounds, step, lambda: settings.lambda },
    measure: { engine: requireProbing(engine), window, supervise: settings.supervise },
    sampleAt: (index) => sampleAt(firstSample + index),
    checkpointPath: makeScratchFiles().checkpoint,
    identity: {},
  });
  const pathRanking = rankPath({ ...path, ranking: undefined });
  return { gates, ranking: rankPath(path), pathRanking, roundsDone: done.length };
}

async function measureAround(gates: GateGrid, setup: Setup, step: ProbeStep): Promise<void> {
  const { window, settings, sampleAt } = setup;
  const engine = requireProbing(setup.engine);
  const scratchFolder = makeScratchFiles().checkpoint;
  for (let index = 0; index < SAMPLES; index++) {
    await measureSample(sampleAt(index), gates, { engine, window, supervise: settings.supervise, step, scratchFolder });
  }
}

async function listCandidates(setup: Setup): Promise<Candidate[]> {
  const { engine, settings, sampleAt } = setup;
  const { layers, kvHeads } = engine.model;
  const common = { engine, sampleAt, settings, identity: {} };
  await engine.distill(sampleAt(0), filledGrid(layers, kvHeads, 1), setup.window);
  const [optimised, seconds] = await time(() => findMethod('gates').score({ ...common, files: makeScratchFiles() }));
  const list: Candidate[] = [
    {
      name: 'gates',
      ranking: optimised.gates,
      gates: optimised.gates,
      seconds,
      forwards: countOptimizerForwards(settings.steps),
    },
  ];
  for (const step of ['finite', 'tangent'] as const) {
    for (const rounds of [1, 2, 3]) {
      const [found, took] = await time(() => runQuadratic(setup, { samples: SAMPLES, rounds, step, firstSample: 0 }));
      const shape = { layers, kvHeads, callsPerSample: 1, samples: SAMPLES, rounds: found.roundsDone };
      const forwards = countQuadraticForwards(shape);
      list.push({ name: `quadratic, ${step}, ${rounds} rounds`, ...found, seconds: took, forwards });
      if (rounds > 1) continue;
      // What the first measurement alone ranks, without elimination.
      const [, seconds] = await time(() => measureAround(filledGrid(layers, kvHeads, 1), setup, step));
      list.push({
        name: `λ path alone, ${step}`,
        ranking: found.pathRanking,
        gates: null,
        seconds,
        forwards: SAMPLES * countMeasureForwards({ ...shape, isFirst: true }),
      });
    }
  }
  return list;
}

async function listAttentionMethods(): Promise<Candidate[]> {
  const setup = await openSetup({ ...values, engine: 'tensorflow', heldOut: 0 });
  const list: Candidate[] = [];
  for (const name of ['attention-mass', 'retrieval-score', 'mean-query-key']) {
    const { engine, sampleAt, settings } = setup;
    const options = { engine, sampleAt, settings: { ...settings, steps: SAMPLES }, identity: {} };
    const [found, seconds] = await time(() => findMethod(name).score({ ...options, files: makeScratchFiles() }));
    list.push({ name: `${name} (tensorflow)`, ranking: found.gates, gates: null, seconds, forwards: null });
  }
  await setup.close();
  return list;
}

function countSameLabels(a: GateGrid, b: GateGrid, streaming: number): number {
  const [left, right] = [cutRanked(a, streaming).flat(), cutRanked(b, streaming).flat()];
  return left.filter((label, head) => label === right[head]).length / left.length;
}

const setup = await openSetup({ ...values, heldOut: Number(values['held-out']) });
const heads = setup.engine.model.layers * setup.engine.model.kvHeads;
const budgets = Array.from({ length: heads + 1 }, (_, count) => count).filter(
  (count) => count % Number(values['budget-step']) === 0,
);
const candidates = await listCandidates(setup);
if (!values['no-attention']) candidates.push(...(await listAttentionMethods()));
console.error(`methods done; greedy removal of ${heads} heads`);
const greedySamples = Array.from({ length: Number(values['greedy-samples']) }, (_, index) =>
  setup.sampleAt(5000 + index),
);
const greedyScores = new MaskScores({ ...setup, samples: greedySamples });
const [removals, greedySeconds] = await time(() => removeGreedily(greedyScores));
const clear = new Set(await findClearBudgets(greedyScores, removals));
const greedy = convertRemovalsToGates(removals, setup.engine.model);
candidates.push({
  name: 'greedy removal',
  ranking: greedy,
  gates: null,
  seconds: greedySeconds,
  forwards: (greedySamples.length * heads * (heads + 1)) / 2,
});

const table = new MaskScores({ ...setup, samples: setup.heldOut });
const curves = new Map<string, (readonly number[])[]>();
for (const { name, ranking } of candidates) {
  const curve: (readonly number[])[] = [];
  for (const streaming of budgets) curve.push((await table.read(cutRanked(ranking, streaming))).accuracy);
  curves.set(name, curve);
  console.error(`recall of ${name} done`);
}
const curveOf = (name: string): (readonly number[])[] => curves.get(name) as (readonly number[])[];
const greedyCurve = curveOf('greedy removal').map(meanOf);
const mattering = budgets.filter((streaming, index) => {
  if (streaming === 0 || streaming === heads) return false;
  const here = greedyCurve[index] as number;
  const neighbours = [greedyCurve[index - 1], greedyCurve[index + 1]].filter((value) => value !== undefined);
  return neighbours.some((value) => Math.abs(value - here) >= TELLING_LOSS);
});
const telling = mattering.filter((streaming) => clear.has(streaming));
const optimised = candidates[0] as Candidate;
const rows = candidates.map(({ name, gates, ranking, seconds, forwards }) => {
  const against = (base: string) =>
    budgets.map((_, index) => comparePairs(curveOf(base)[index] as number[], curveOf(name)[index] as number[]));
  const worst = against('gates').reduce((low, now) =>
    now.mean + now.halfWidth < low.mean + low.halfWidth ? now : low,
  );
  const differences = gates?.flat().map((gate, head) => Math.abs(gate - (optimised.gates?.flat()[head] as number)));
  return {
    name,
    seconds: Number(seconds.toFixed(2)),
    forwards,
    meanGateDifference: differences ? meanOf(differences) : null,
    largestGateDifference: differences ? Math.max(...differences) : null,
    recall: curveOf(name).map((accuracies) => Number(meanOf(accuracies).toFixed(4))),
    meanRecall: meanOf(curveOf(name).map(meanOf)),
    belowGatesBeyondInterval: against('gates').filter(({ mean, halfWidth }) => mean + halfWidth < -1e-9).length,
    worstAgainstGates: worst,
    sameLabelsAsGreedy:
      telling.length === 0 ? null : meanOf(telling.map((streaming) => countSameLabels(ranking, greedy, streaming))),
  };
});

const stability = [];
const meanDifference = (a: GateGrid, b: GateGrid): number =>
  meanOf(a.flat().map((gate, head) => Math.abs(gate - (b.flat()[head] as number))));
for (const step of ['finite', 'tangent'] as const) {
  for (const rounds of [1, 2]) {
    for (const samples of values['sample-counts'].split(',').filter(Boolean).map(Number)) {
      const found: Awaited<ReturnType<typeof runQuadratic>>[] = [];
      for (const firstSample of SAMPLE_SETS)
        found.push(await runQuadratic(setup, { samples, rounds, step, firstSample }));
      const pairs = found.flatMap((a, index) => found.slice(index + 1).map((b) => [a, b] as const));
      const overlapsAt = (streamingHeads: readonly number[]): number[] =>
        pairs.flatMap(([a, b]) => streamingHeads.map((count) => countSameLabels(a.ranking, b.ranking, count)));
      const [overlaps, wherever] = [overlapsAt(telling), overlapsAt(mattering)];
      stability.push({
        step,
        rounds,
        samples,
        meanOverlap: overlaps.length > 0 ? meanOf(overlaps) : null,
        leastOverlap: overlaps.length > 0 ? Math.min(...overlaps) : null,
        meanOverlapWhereHeadsMatter: wherever.length > 0 ? meanOf(wherever) : null,
        leastOverlapWhereHeadsMatter: wherever.length > 0 ? Math.min(...wherever) : null,
        gateDifference: meanOf(pairs.map(([a, b]) => meanDifference(a.gates, b.gates))),
      });
    }
  }
}

const ranked = Object.fromEntries(
  candidates.map(({ name, ranking }) => [
    name,
    rankGates(ranking)
      .map(({ layer, head }) => `${layer}.${head}`)
      .join(' '),
  ]),
);
const { name: engine, device, model } = setup.engine;
const maskPath = values.out === undefined ? null : join(dirname(values.out), 'mask.json');
const result = {
  // In a run's folder the report shows it beside that run's mask, and no other.
  ...(maskPath !== null && existsSync(maskPath) && { maskHash: hashMask(toHeadMask(readMask(maskPath))) }),
  model: values.model,
  preset: values.preset,
  shape: model,
  engine,
  device,
  cpu: cpus()[0]?.model ?? 'unknown',
  tokens: setup.config.maxTokens,
  window: setup.window,
  lambda: setup.settings.lambda,
  steps: setup.settings.steps,
  samples: SAMPLES,
  heldOut: setup.heldOut.length,
  budgets,
  mattering,
  clear: [...clear],
  telling,
  rows,
  stability,
  ranked,
};
await setup.close();
if (values.out) writeFileAtomic(values.out, stableJson(result));

const share = (value: number | null): string => (value === null ? '–' : value.toFixed(3));
console.log(
  `\n${values.model}: ${heads} KV heads, ${values['held-out']} held-out samples of ${setup.config.maxTokens} tokens, ${engine} on ${device}\n`,
);
console.log(
  '| method | seconds | forward passes | mean gate difference | mean recall over budgets | worst against gates (95 %) | budgets below gates | labels as greedy |',
);
console.log('|---|---|---|---|---|---|---|---|');
for (const row of rows) {
  const worst = `${row.worstAgainstGates.mean.toFixed(3)} ± ${row.worstAgainstGates.halfWidth.toFixed(3)}`;
  console.log(
    `| ${row.name} | ${row.seconds} | ${row.forwards ?? '–'} | ${share(row.meanGateDifference)} | ${share(row.meanRecall)} | ${worst} | ${row.belowGatesBeyondInterval} of ${budgets.length} | ${share(row.sameLabelsAsGreedy)} |`,
  );
}
console.log(
  `\nStreaming heads beside which greedy removal loses recall: ${mattering.join(', ')}; of these its choice is clear at ${telling.join(', ')}.\n`,
);
console.log(
  '| step | rounds | samples | overlap of masks where clear, mean | least | where recall is lost, mean | least | mean gate difference |\n|---|---|---|---|---|---|---|---|',
);
for (const row of stability) {
  const overlaps = [
    row.meanOverlap,
    row.leastOverlap,
    row.meanOverlapWhereHeadsMatter,
    row.leastOverlapWhereHeadsMatter,
  ];
  console.log(
    `| ${row.step} | ${row.rounds} | ${row.samples} | ${overlaps.map(share).join(' | ')} | ${share(row.gateDifference)} |`,
  );
}
