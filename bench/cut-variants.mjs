// What might make the cut by memory better than it is: samples at the length of the cut, objectives scaled to one trace, late positions alone, heads that must
// stay whole, weaker interactions, and a second round of measurement around the mask of the first. Every row: predicted loss, how far below it the least possible
// may lie, the true loss on the samples of the first measurement, and what the mask keeps on held-out text.
//   node bench/cut-variants.mjs --model <model> --learn <documents> --measure <documents> --out <folder> [--device cuda:0] [--seed 42]
//     [--shortest 2k] [--length 8k] [--texts 20] [--needles 16] [--samples 8] [--second 4] [--kinds passkey,long-range] [--sink 128] [--windows 256,512,1k,2k] [--shares 0.33,0.24,0.14]
// Writes <out>/variants.csv row by row, and prints it at the end.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cutWindows } from '../dist/export/cut-windows.js';
import { parseCount } from '../dist/src/config/flags.js';
import { openEngine } from '../dist/src/engine/open-engine.js';
import { openModel } from '../dist/src/model/open-model.js';
import { makeFarNeedles, openScores, takeTexts } from './held-out-scores.mjs';
import { balance, changeEffects, drawSamples, makeLadder, measureSamples, scaleInteractions } from './ladders.mjs';
import { readFlags } from './read-flags.mjs';
import { measureAround, measureTrueLosses } from './second-round.mjs';

const flags = readFlags(['model', 'learn', 'measure', 'out'], {
  device: 'cuda:0',
  seed: '42',
  shortest: '2k',
  length: '8k',
  texts: '20',
  needles: '16',
  samples: '8',
  second: '4',
  kinds: 'passkey,long-range',
  sink: '128',
  windows: '256,512,1k,2k',
  shares: '0.33,0.24,0.14',
});
const sinkTokens = parseCount(flags.sink);
const windows = flags.windows.split(',').map(parseCount);
const rungs = { sinkTokens, windows };
const atTokens = parseCount(flags.length);
const seed = Number(flags.seed);
const count = Number(flags.samples);
const folder = await openModel(flags.model);
const engine = await openEngine(folder, { device: flags.device });
const { kvHeads } = engine.model;
const startMs = performance.now();
const tell = (text) => console.log(`${((performance.now() - startMs) / 1000).toFixed(0)} s: ${text}`);

const texts = await takeTexts({ folder, seed, documents: flags.measure, tokens: atTokens, count: Number(flags.texts) });
const about = { tokens: atTokens, count: Number(flags.needles), farther: windows.at(-1) };
const needles = about.count === 0 ? [] : await makeFarNeedles({ folder, seed, documents: flags.measure, ...about });
const scores = await openScores({ engine, texts, needles, window: { sinkTokens, recentTokens: windows[0] } });
tell('full attention scored');

// Passkeys and long-range tokens by turns, so that a part of the samples is of one kind.
const draw = (objective, shortest, number) =>
  drawSamples({ folder, engine, seed, objective, documents: flags.learn, shortest, longest: atTokens, count: number });
const kinds = flags.kinds.split(',');
const mixed = await draw(kinds[0] === kinds[1] ? kinds[0] : 'both', parseCount(flags.shortest), count);
const long = [await draw(kinds[0], atTokens, count), await draw(kinds[1], atTokens, count)];
const half = atTokens / 2;
const late = long[1]
  .map((sample) => ({ ...sample, answers: sample.answers.filter(([begin]) => begin >= half) }))
  .filter(({ answers }) => answers.length > 0);
const measured = { mixed: await measureSamples(engine, mixed, rungs) };
tell(`${mixed.length} samples of ${flags.shortest} to ${flags.length} measured`);
[measured.passkey, measured.longRange] = [
  await measureSamples(engine, long[0], rungs),
  await measureSamples(engine, long[1], rungs),
];
tell(`${2 * count} samples of ${flags.length} measured`);
measured.late = await measureSamples(engine, late, rungs);
tell(`${late.length} samples of its later half measured`);

const ladderOf = (samples, weigh) => makeLadder(samples, rungs, weigh);
const few = (samples) => samples.slice(0, count / 2);
const { passkey, longRange } = measured;
const weigh = balance([...passkey, ...longRange]);
const base = ladderOf([...passkey, ...longRange], weigh);
const ladders = [
  [`${flags.shortest} to ${flags.length}`, ladderOf(measured.mixed)],
  [`${flags.shortest} to ${flags.length}, objectives not scaled`, ladderOf(measured.mixed, () => 1)],
  [`${flags.length}, as many`, ladderOf([...few(passkey), ...few(longRange)])],
  [`${flags.length}, twice as many`, base],
  [`passkeys of ${flags.length}`, ladderOf(passkey)],
  [`long-range of ${flags.length}`, ladderOf(longRange)],
  [`long-range, later half of ${flags.length}`, ladderOf(measured.late)],
  [`passkeys of ${flags.length} and long-range, later half`, ladderOf([...passkey, ...measured.late])],
  ...[0, 0.5, 0.8, 1.2].map((factor) => [
    `${flags.length}, twice as many, interactions × ${factor}`,
    scaleInteractions(base, factor),
  ]),
];

mkdirSync(flags.out, { recursive: true });
const lines = [
  'share,cut,whole heads,predicted loss,least possible,true loss,kept gain,low,high,above the last quarter,low,high,loss,far needles',
];
for (const share of flags.shares.split(',')) {
  const cut = (ladder) => cutWindows(ladder, { kvShare: Number(share), atTokens, kvHeads });
  for (const [name, ladder] of ladders) await addRow(share, name, cut(ladder));
  for (const least of [4, 8, 16]) await addRow(share, `${least} whole heads at least`, cutWhole(cut, least));
}
const second = Number(flags.second);
if (second > 0) await addRounds(flags.shares.split(',').at(-1));
console.log(lines.join('\n'));
await engine.close();
folder.close();

/** The cut with at least so many whole heads: every window costs a price more, the least that suffices; null where none does. */
function cutWhole(cut, least) {
  const cutAt = (price) => cut(changeEffects(base, (value, row, column) => (row === column ? value + price : value)));
  const suffices = ({ mask }) => mask.windows.flat().filter((window) => window === null).length >= least;
  let best = cutAt(0);
  if (suffices(best)) return best;
  // with both objectives at one trace all heads alone are 1 together, so that a price of 1 per head outweighs them
  let [low, high] = [0, 1];
  best = cutAt(high);
  if (!suffices(best)) return null;
  for (let round = 0; round < 16; round++) {
    const price = (low + high) / 2;
    const found = cutAt(price);
    if (suffices(found)) [best, high] = [found, price];
    else low = price;
  }
  return best;
}

/** Around the first round's mask of a share, by a few samples of each kind, then around the mask that comes of it: each round alone, and its mean
 * with the first. */
async function addRounds(share) {
  const cut = (ladder) => cutWindows(ladder, { kvShare: Number(share), atTokens, kvHeads });
  let { mask } = cut(base);
  for (const round of [2, 3]) {
    const around = [];
    for (const sample of long.flatMap((samples) => samples.slice(0, second / 2))) {
      around.push(await measureAround(engine, sample, { mask, windows }));
    }
    // weighed as the first measurement was, for what is measured around a mask has no trace of its own
    const near = ladderOf(around, weigh);
    tell(`measured around a mask of ${share}, round ${round}`);
    const found = cut(near);
    await addRow(share, `round ${round}`, found);
    const mean = changeEffects(near, (value, row, column) => (value + base.effects[row][column]) / 2);
    await addRow(share, `mean of rounds 1 and ${round}`, cut(mean));
    ({ mask } = found);
  }
}

async function addRow(share, name, found) {
  if (found === null) return;
  const { mask, predictedLoss, lossBound } = found;
  const whole = mask.windows.flat().filter((window) => window === null).length;
  const losses = await measureTrueLosses(engine, mixed, { mask, windows });
  const weights = mixed.map(balance(measured.mixed));
  const trueLoss = losses.reduce((sum, loss, index) => sum + weights[index] * loss, 0) / losses.length;
  const { kept, interval, late: last, lateInterval, loss, far } = await scores.score(mask);
  const predicted = [predictedLoss, lossBound ?? Number.NaN, trueLoss].map((value) => value.toPrecision(4));
  const numbers = [kept, ...(interval ?? [null, null]), last, ...(lateInterval ?? [null, null])];
  const words = numbers.map((value) => value?.toFixed(4) ?? '');
  lines.push([share, `"${name}"`, whole, ...predicted, ...words, loss.toFixed(5), far?.toFixed(3) ?? ''].join(','));
  keepLines();
}

/** The table so far, so that a run that is stopped leaves its rows. */
function keepLines() {
  writeFileSync(join(flags.out, 'variants.csv'), `${lines.join('\n')}\n`);
}
