// Does a promise hold on documents that it was not measured on? One measurement of the heads; then, draw by draw, `--keep 0.99 --keep-of gain` on some windows of
// running text, and what its mask keeps on as many others of the same documents, none of which overlaps any other.
//   node bench/promise-draws.mjs --model <model> --gates <gates.json with a ladder> --measure <documents> --out <folder> [--device cuda:0] [--seed 42]
//     [--draws 20] [--texts 16] [--length 8k] [--keep 0.99] [--aim 0.98]
// Writes <out>/draws.csv, and prints it with how many draws keep the aim.
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listBudgetPath } from '../dist/export/budget-path.js';
import { parseCount } from '../dist/src/config/flags.js';
import { makeHeadMask } from '../dist/src/core/head-mask.js';
import { makeRandom } from '../dist/src/core/random.js';
import { filledGrid } from '../dist/src/core/shapes.js';
import { openEngine } from '../dist/src/engine/open-engine.js';
import { keepPromise } from '../dist/src/eval/keep-promise.js';
import { measureKeptGain } from '../dist/src/eval/metrics/kept-gain.js';
import { readGates } from '../dist/src/formats/gates.js';
import { openModel } from '../dist/src/model/open-model.js';
import { openTokenizer } from '../dist/src/text/tokenizer.js';
import { readFlags } from './read-flags.mjs';

const flags = readFlags(['model', 'gates', 'measure', 'out'], {
  device: 'cuda:0',
  seed: '42',
  draws: '20',
  texts: '16',
  length: '8k',
  keep: '0.99',
  aim: '0.98',
});
const tokens = parseCount(flags.length);
const numTexts = Number(flags.texts);
const seed = Number(flags.seed);
const folder = await openModel(flags.model);
const engine = await openEngine(folder, { device: flags.device });
const gates = readGates(flags.gates);
const { layers, kvHeads } = engine.model;
const window = { sinkTokens: gates.ladder.sink, recentTokens: gates.ladder.windows[0] };
const path = listBudgetPath(gates, { window, atTokens: tokens });
const texts = cutTexts();
console.log(`${texts.length} windows of ${tokens} tokens, ${path.length} masks on the path`);
if (texts.length < 2 * numTexts) throw new Error(`Expected text for ${2 * numTexts} windows, got ${texts.length}.`);

/** Log-probabilities of a text under a mask, each computed once. */
const known = new Map();
async function score(index, name, mask) {
  const key = `${name}/${index}`;
  if (!known.has(key)) known.set(key, await engine.scoreTokens(texts[index], mask));
  return known.get(key);
}
const streamingMask = makeHeadMask(filledGrid(layers, kvHeads, 0), window);
async function measureGain(chosen, place) {
  const logProbs = [];
  for (const index of chosen) {
    const full = await score(index, 'full', 'full');
    const streaming = await score(index, 'streaming', streamingMask);
    logProbs.push({ full, streaming, mask: await score(index, place, path[place].mask) });
  }
  return measureKeptGain(logProbs);
}

const lines = ['draw,KV share,kept where promised,low,high,kept unseen,low,high'];
const found = [];
for (let draw = 0; draw < Number(flags.draws); draw++) {
  const order = makeRandom(seed, 'draw', draw).shuffle(texts.map((_, index) => index));
  const [promised, unseen] = [order.slice(0, numTexts), order.slice(numTexts, 2 * numTexts)];
  const measure = async (mask) => {
    const {
      keptGain: value,
      interval,
      reason,
    } = await measureGain(
      promised,
      path.findIndex((step) => step.mask === mask),
    );
    return { value, interval, reason };
  };
  const promise = await keepPromise({ path, promise: Number(flags.keep), measure });
  if (promise.found === null) {
    lines.push(`${draw},"none: ${promise.reason}"`);
    continue;
  }
  const { index, kvShare, kept, interval } = promise.found;
  const { keptGain, interval: unseenInterval } = await measureGain(unseen, index);
  found.push(keptGain);
  const numbers = [kvShare, kept, ...interval, keptGain, ...unseenInterval].map((value) => value.toFixed(4));
  lines.push([draw, ...numbers].join(','));
}
mkdirSync(flags.out, { recursive: true });
writeFileSync(join(flags.out, 'draws.csv'), `${lines.join('\n')}\n`);
console.log(lines.join('\n'));
const numHeld = found.filter((kept) => kept >= Number(flags.aim)).length;
const least = found.length === 0 ? '' : `; the least keeps ${Math.min(...found).toFixed(4)}`;
console.log(`${numHeld} of ${flags.draws} draws keep at least ${flags.aim} on documents unseen${least}`);
await engine.close();
folder.close();

/** All documents, cut into windows one after another. */
function cutTexts() {
  const tokenizer = openTokenizer(folder.path);
  const start = tokenizer.encode('', { addSpecialTokens: true });
  const files = statSync(flags.measure).isDirectory()
    ? readdirSync(flags.measure)
        .filter((name) => /\.(txt|md)$/.test(name))
        .sort()
        .map((name) => join(flags.measure, name))
    : [flags.measure];
  const room = tokens - start.length;
  return files.flatMap((file) => {
    const ids = tokenizer.encode(readFileSync(file, 'utf8'));
    const count = Math.floor(ids.length / room);
    return Array.from({ length: count }, (_, index) => [...start, ...ids.slice(index * room, (index + 1) * room)]);
  });
}
