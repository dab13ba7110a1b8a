// What might make masks of one window better than the default's order of closing: finer stages, the quadratic's own path of λ, exchanges of two heads by the
// quadratic around all heads full or measured anew around the mask, tangents, one kind of samples. Every row: the loss on the samples that the masks are
// made from, by the distances that they are measured by, and what a mask keeps on held-out text. A row that loses less and keeps no more says that the
// samples or the distance are at fault and not the search.
//   node bench/order-variants.mjs --model <model> --learn <documents> --measure <documents> --out <folder> [--device cuda:0] [--seed 42] [--samples 16]
//     [--shortest 2k] [--longest 8k] [--length 8k] [--texts 20] [--sink 128] [--recent 256] [--fractions 0.5,0.7,0.8,0.9] [--gates <gates.json>,… to compare with]
//     [--only <text>,<text>: variants whose name holds one of these] [--seconds 400: begin no further variant after]
// Writes <out>/orders.csv row by row, and prints it at the end.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCount } from '../dist/src/config/flags.js';
import { makeHeadMask } from '../dist/src/core/head-mask.js';
import { openEngine } from '../dist/src/engine/open-engine.js';
import { openModel } from '../dist/src/model/open-model.js';
import { toGrid } from '../dist/train/quadratic/quadratic-model.js';
import { openScores, takeTexts } from './held-out-scores.mjs';
import { drawSamples } from './ladders.mjs';
import { cutFraction } from './order-variants/cut-fraction.mjs';
import { Measurements } from './order-variants/measurements.mjs';
import { exchange, findOrder, orderByPath, orderByStages } from './order-variants/orders.mjs';
import { readFlags } from './read-flags.mjs';

const flags = readFlags(['model', 'learn', 'measure', 'out'], {
  device: 'cuda:0',
  seed: '42',
  samples: '16',
  shortest: '2k',
  longest: '8k',
  length: '8k',
  texts: '20',
  sink: '128',
  recent: '256',
  fractions: '0.5,0.7,0.8,0.9',
  gates: '',
  only: '',
  seconds: '400',
});
const window = { sinkTokens: parseCount(flags.sink), recentTokens: parseCount(flags.recent) };
const seed = Number(flags.seed);
const fractions = flags.fractions.split(',').map(Number);
const folder = await openModel(flags.model);
const engine = await openEngine(folder, { device: flags.device });
const { layers, kvHeads } = engine.model;
const heads = layers * kvHeads;
const startMs = performance.now();
const secondsGone = () => (performance.now() - startMs) / 1000;
const tell = (text) => console.log(`${secondsGone().toFixed(0)} s: ${text}`);
const lines = ['variant,streaming,loss on its samples,kept gain,low,high,heads of the default,seconds'];

const texts = await takeTexts({
  folder,
  seed,
  documents: flags.measure,
  tokens: parseCount(flags.length),
  count: Number(flags.texts),
});
const scores = await openScores({ engine, texts, window });
tell('full attention scored');
const draw = (objective, count) =>
  drawSamples({
    ...{ folder, engine, seed, objective, documents: flags.learn, count },
    ...{ shortest: parseCount(flags.shortest), longest: parseCount(flags.longest) },
  });
const count = Number(flags.samples);
const both = new Measurements(engine, await draw('both', count), { window });
tell('samples drawn');
const full = await both.measure(new Float64Array(heads).fill(1));
tell('measured around all heads full');
const standard = await orderByStages(both, { shrink: 1 / 2 });

/** Each gives the heads that stream at a number of them. */
const cutOrder = (order) => (size) => order.slice(0, size);
const stages = (measurements, shrink) => async () => cutOrder(await orderByStages(measurements, { shrink }));
const measureFull = (settings) => both.with(settings).measure(new Float64Array(heads).fill(1));
const variants = {
  'default: stages of a half': async () => cutOrder(standard),
  'one measurement': async () => cutOrder(findOrder(full)),
  'stages of a quarter': stages(both, 1 / 4),
  'path of λ': async () => cutOrder(orderByPath(full, kvHeads)),
  'exchanges, one measurement': async () => {
    const order = findOrder(full);
    return (size) => exchange(full, order.slice(0, size));
  },
  'exchanges around the mask': async () => (size) => exchangeAround(both, standard.slice(0, size), 1),
  'exchanges around the mask, three rounds': async () => (size) => exchangeAround(both, standard.slice(0, size), 3),
  tangents: async () => cutOrder(findOrder(await measureFull({ step: 'tangent' }))),
  'tangents, path of λ': async () => cutOrder(orderByPath(await measureFull({ step: 'tangent' }), kvHeads)),
  'KL for all samples': stages(both.with({ distance: 'kl' }), 1 / 2),
  'KL for all samples, stages of a quarter': stages(both.with({ distance: 'kl' }), 1 / 4),
  'KL for all samples, path of λ': async () => cutOrder(orderByPath(await measureFull({ distance: 'kl' }), kvHeads)),
  'KL for all samples, exchanges around the mask': async () => {
    const measurements = both.with({ distance: 'kl' });
    const order = await orderByStages(measurements, { shrink: 1 / 2 });
    return (size) => exchangeAround(measurements, order.slice(0, size), 2);
  },
  'long-range weighs 4 times': stages(both.with({ longWeight: 4 }), 1 / 2),
  'long-range alone': async () =>
    stages(new Measurements(engine, await draw('long-range', count), { window }), 1 / 2)(),
  'long-range alone, later half': async () => {
    const samples = (await draw('long-range', count)).map((sample) => ({
      ...sample,
      answers: sample.answers.filter(([begin]) => begin >= sample.tokens.length / 2),
    }));
    const late = samples.filter(({ answers }) => answers.length > 0);
    return stages(new Measurements(engine, late, { window }), 1 / 2)();
  },
};
const files = flags.gates === '' ? [] : flags.gates.split(',');
for (const file of files)
  variants[`from ${file.split('/').slice(-2).join('/')}`] = async () => (size) =>
    cutFraction(file, { fraction: size / heads, window });

mkdirSync(flags.out, { recursive: true });
const wanted = flags.only.split(',');
for (const [name, prepare] of Object.entries(variants)) {
  if (!wanted.some((text) => name.includes(text)) || secondsGone() > Number(flags.seconds)) continue;
  const beginMs = performance.now();
  const choose = await prepare();
  for (const fraction of fractions) {
    const size = Math.round(fraction * heads);
    await addRow(name, { fraction, streaming: await choose(size), size, beginMs });
  }
  tell(name);
}
console.log(lines.join('\n'));
await engine.close();
folder.close();

/** Exchanges of an open and a closed head by a quadratic measured around the mask, for some rounds, each taken where the loss on the samples falls. */
async function exchangeAround(measurements, streaming, rounds) {
  let best = streaming;
  let loss = await measurements.measureLoss(toGates(best));
  for (let round = 0; round < rounds; round++) {
    const model = await measurements.measure(toGates(best));
    const next = exchange(model, best, { most: 8 });
    const after = await measurements.measureLoss(toGates(next));
    if (after >= loss) break;
    [best, loss] = [next, after];
  }
  return best;
}

function toGates(streaming) {
  const gates = new Float64Array(heads).fill(1);
  for (const head of streaming) gates[head] = 0;
  return gates;
}

async function addRow(name, { fraction, streaming, size, beginMs }) {
  const gates = toGates(streaming);
  if (gates.filter((gate) => gate === 0).length !== size) throw new Error(`${name}: expected ${size} different heads`);
  const loss = await both.measureLoss(gates);
  const { kept, interval } = await scores.score(makeHeadMask(toGrid(gates, kvHeads), window));
  const alike = streaming.filter((head) => standard.slice(0, size).includes(head)).length;
  const numbers = [kept, ...(interval ?? [null, null])].map((value) => value?.toFixed(4) ?? '');
  const seconds = ((performance.now() - beginMs) / 1000).toFixed(1);
  lines.push([`"${name}"`, fraction, loss.toPrecision(5), ...numbers, `${alike} of ${size}`, seconds].join(','));
  writeFileSync(join(flags.out, 'orders.csv'), `${lines.join('\n')}\n`);
}
