// Which property of the measured samples decides how much a cut keeps: objective, lengths, number, distance, and the texts that they come from. Small
// enough for a CPU: a shorter context with window, sinks and rungs scaled alike, and effects by sketches.
//   node bench/ladder-factors.mjs --model <model> --learn <documents> --measure <documents> --out <folder> [--device cpu] [--seed 42] [--shortest 256]
//     [--length 1k] [--texts 10] [--vectors 8] [--sink 16] [--windows 32,64,128,256] [--shares 0.24,0.14] [--fractions 0.5,0.7] [--rows <text>,<text>]
// --fractions: of heads that stream with the narrowest window, all others whole, as plain masks have them; chosen from the same effects. --rows keeps rows
// whose name holds one of the texts. Writes <out>/factors.csv, and prints it; the difference is that from the first row, over the same texts.
// What was measured and scored is kept in <out>: the same command goes on where a stopped one ended.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cutWindows } from '../dist/export/cut-windows.js';
import { parseCount } from '../dist/src/config/flags.js';
import { makeHeadMask } from '../dist/src/core/head-mask.js';
import { isLongRange } from '../dist/src/core/long-range.js';
import { makeRandom } from '../dist/src/core/random.js';
import { filledGrid } from '../dist/src/core/shapes.js';
import { openEngine } from '../dist/src/engine/open-engine.js';
import { openModel } from '../dist/src/model/open-model.js';
import { drawSigns } from '../dist/train/quadratic/draw-signs.js';
import { multiplySketch } from '../dist/train/quadratic/multiply-sketch.js';
import { openMetric } from '../dist/train/quadratic/sample-metric.js';
import { takeTexts } from './held-out-scores.mjs';
import { balance, drawSamples, makeLadder, pickWindows, scaleInteractions } from './ladders.mjs';
import { readFlags } from './read-flags.mjs';

const flags = readFlags(['model', 'learn', 'measure', 'out'], {
  device: 'cpu',
  seed: '42',
  shortest: '256',
  length: '1k',
  texts: '10',
  vectors: '8',
  sink: '16',
  windows: '32,64,128,256',
  shares: '0.24,0.14',
  fractions: '0.5,0.7',
  rows: '',
});
const CORPUS = fileURLToPath(new URL('../corpus/texts', import.meta.url));
const BOOTSTRAP_DRAWS = 1000;
const passkeys = (count) => ({ objective: 'passkey', span: 'long', distance: 'hidden', count });
const longRange = (count) => ({ objective: 'long-range', span: 'long', distance: 'kl', count });
/** Name, samples, and a change of the ladder that comes of them. */
const ROWS = [
  ['long-range by KL: 8', [longRange(8)]],
  ['passkeys by hidden states: 8', [passkeys(8)]],
  ['both: 4 + 4', [passkeys(4), longRange(4)]],
  ['both: 8 + 8', [passkeys(8), longRange(8)]],
  ['all lengths: 8 long-range by KL', [{ ...longRange(8), span: 'mixed' }]],
  ['corpus: 4 + 4', [passkeys(4), { ...longRange(4), learn: 'corpus' }]],
  ['both: 2 + 2', [passkeys(2), longRange(2)]],
  ['passkeys by hidden states: 2', [passkeys(2)]],
  ['long-range by hidden states: 8', [{ ...longRange(8), distance: 'hidden' }]],
  ['no interactions: 8 + 8', [passkeys(8), longRange(8)], (ladder) => scaleInteractions(ladder, 0)],
];
const sinkTokens = parseCount(flags.sink);
const windows = flags.windows.split(',').map(parseCount);
const window = { sinkTokens, recentTokens: windows[0] };
const atTokens = parseCount(flags.length);
const seed = Number(flags.seed);
const vectors = Number(flags.vectors);
for (const name of ['measured', 'scored']) mkdirSync(join(flags.out, name), { recursive: true });
const startMs = performance.now();
const tell = (text) => console.error(`${((performance.now() - startMs) / 1000).toFixed(0)} s: ${text}`);

const folder = await openModel(flags.model);
const engine = await openEngine(folder, { device: flags.device });
const { layers, kvHeads } = engine.model;
const texts = await takeTexts({ folder, seed, documents: flags.measure, tokens: atTokens, count: Number(flags.texts) });
const full = await scoreMask('full');
const streaming = await scoreMask(makeHeadMask(filledGrid(layers, kvHeads, 0), window));

const lines = ['budget,row,whole heads,kept gain,low,high,difference,low,high,loss'];
const firsts = new Map();
const words = flags.rows.split(',').filter((word) => word !== '');
for (const [name, sets, change = (ladder) => ladder] of ROWS) {
  if (words.length > 0 && !words.some((word) => name.includes(word))) continue;
  const samples = [];
  for (const set of sets) samples.push(...(await measureSet(set)));
  for (const { budget, ladder, kvShare } of listCuts(change(makeSketched(samples)))) {
    const { mask } = cutWindows(ladder, { kvShare, atTokens, kvHeads, isBounded: false });
    const own = sumGains(await scoreMask(mask));
    if (!firsts.has(budget)) firsts.set(budget, own);
    const whole = mask.windows.flat().filter((size) => size === null).length;
    const numbers = [...bootstrap([own]), ...bootstrap([own, firsts.get(budget)])].map((value) => value.toFixed(4));
    const loss = own.reduce((sum, text) => sum + text.loss, 0) / own.length;
    lines.push([budget, `"${name}"`, whole, ...numbers, loss.toFixed(5)].join(','));
    tell(lines.at(-1));
  }
}
writeFileSync(join(flags.out, 'factors.csv'), `${lines.join('\n')}\n`);
console.log(lines.join('\n'));
await engine.close();
folder.close();

function listCuts(ladder) {
  const list = (text) => text.split(',').filter((value) => value !== '');
  const narrow = (sinkTokens + windows[0]) / atTokens;
  return [
    ...list(flags.shares).map((share) => ({ budget: `share ${share}`, ladder, kvShare: Number(share) })),
    ...list(flags.fractions).map((fraction) => ({
      budget: `streaming ${fraction}`,
      ladder: pickWindows(ladder, [windows[0]]),
      // entries of whole heads, rounded up
      kvShare: Math.min(1, 1 - Number(fraction) * (1 - narrow) + 1e-9),
    })),
  ];
}

/** Samples of a set, each sketched. */
async function measureSet({ objective, span, distance, count, learn = 'books' }) {
  const lengths = { shortest: span === 'long' ? atTokens : parseCount(flags.shortest), longest: atTokens };
  const name = [objective, span, distance, ...(learn === 'books' ? [] : [learn])].join('-');
  const found = [];
  let samples = null;
  for (let index = 0; index < count; index++) {
    const path = join(flags.out, 'measured', `${name}-${index}.json`);
    if (!existsSync(path)) {
      samples ??= await drawSamples({
        ...{ folder, engine, seed, objective, ...lengths, count },
        documents: learn === 'corpus' ? CORPUS : flags.learn,
        // a grid of few lengths, so that few samples have all of them
        config: { lengthCount: 4, ...window },
      });
      writeFileSync(path, JSON.stringify(await sketch(samples[index], { index, distance })));
      tell(path);
    }
    found.push({ ...JSON.parse(readFileSync(path, 'utf8')), isLongRange: objective === 'long-range' });
  }
  return found;
}

/** As `duo identify --ladder-vectors` sketches a sample. */
async function sketch(sample, { index, distance }) {
  const metric = await openMetric(sample, { engine, supervise: 'predict', distance, window });
  const signs = drawSigns(makeRandom(0, 'ladder sketch', index), vectors * metric.length);
  const request = { vectors: await metric.pullBack(signs), windows, sinkTokens };
  const products = await engine.sketch(sample, request, { supervise: 'predict' });
  const supervised = metric.hiddenLength / engine.model.hidden;
  return { tokens: sample.tokens.length, supervised, scale: metric.scale, products: [...products] };
}

/** Their ladder as `duo identify` sums and shrinks it. */
function makeSketched(samples) {
  const measured = samples.map(({ tokens, scale, products, isLongRange: isLong }) => {
    const triangle = multiplySketch(Float32Array.from(products), { count: vectors, scale });
    return { tokens, isLongRange: isLong, triangle };
  });
  return makeLadder(measured, { sinkTokens, windows }, balance(measured), measured.length * vectors);
}

/** Log-probabilities of the texts under a mask. */
async function scoreMask(mask) {
  const name = createHash('sha256').update(JSON.stringify(mask)).digest('hex').slice(0, 16);
  const path = join(flags.out, 'scored', `${name}.json`);
  if (!existsSync(path)) {
    const scored = [];
    for (const text of texts) scored.push([...(await engine.scoreTokens(text, mask))]);
    writeFileSync(path, JSON.stringify(scored));
  }
  return JSON.parse(readFileSync(path, 'utf8')).slice(0, texts.length);
}

/** Of each text what the mask keeps and full attention gains, nats over long-range tokens, and the loss above full attention, nats per token. */
function sumGains(own) {
  return own.map((values, text) => {
    const sums = { kept: 0, gain: 0, loss: 0 };
    for (const [at, value] of values.entries()) {
      const [whole, least] = [full[text][at], streaming[text][at]];
      sums.loss += (whole - value) / values.length;
      if (!isLongRange(whole, least)) continue;
      sums.kept += value - least;
      sums.gain += whole - least;
    }
    return sums;
  });
}

/** Kept gain of one mask, or how far it lies above that of another, with a 95 % interval over texts. */
function bootstrap([own, other]) {
  const random = makeRandom(0, 'ladder factors');
  const value = (indices) => {
    const sum = (mask, key) => indices.reduce((total, index) => total + mask[index][key], 0);
    return (sum(own, 'kept') - (other ? sum(other, 'kept') : 0)) / sum(own, 'gain');
  };
  const all = own.map((_, index) => index);
  const draw = () => value(all.map(() => random.integer(all.length)));
  const draws = Array.from({ length: BOOTSTRAP_DRAWS }, draw).sort((a, b) => a - b);
  return [value(all), draws[Math.floor(0.025 * BOOTSTRAP_DRAWS)], draws[Math.floor(0.975 * BOOTSTRAP_DRAWS)]];
}
