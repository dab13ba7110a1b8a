// What each part of the cut by memory is worth, at equal KV entries: windows by head with interactions of heads; without interactions; from each head's own
// change of the loss; one window per layer; the windows dealt at random; the best single window. One measurement, one set of held-out texts and needles
// for every row.
//   node bench/ablate-windows.mjs --model <model> --learn <documents> --measure <documents> --out <folder> [--device cuda:0] [--seed 42] [--objective both]
//     [--shortest 8k] [--length 8k] [--texts 20] [--needles 24] [--samples 8] [--sink 128] [--windows 256,512,1k,2k] [--shares 0.33,0.24,0.14]
// "each head's own change" is additive: |log p(full) − log p(this head alone on this window)|, summed over the answer tokens of the samples. It is what
// a first-order profile (MoA, arXiv 2406.14909) estimates by gradients of the loss; here it is measured, a forward pass a head and window.
// Writes <out>/ablation.csv, and prints it.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cutWindows } from '../dist/export/cut-windows.js';
import { parseCount } from '../dist/src/config/flags.js';
import { measureKvShare } from '../dist/src/core/kv-cost.js';
import { supervisedPositions } from '../dist/src/core/shapes.js';
import { openEngine } from '../dist/src/engine/open-engine.js';
import { makeRandomWindows } from '../dist/src/eval/window-baselines.js';
import { openModel } from '../dist/src/model/open-model.js';
import { makeFarNeedles, openScores, takeTexts } from './held-out-scores.mjs';
import {
  changeEffects,
  drawSamples,
  joinLayers,
  makeLadder,
  measureSamples,
  pickWindows,
  scaleInteractions,
} from './ladders.mjs';
import { readFlags } from './read-flags.mjs';

const flags = readFlags(['model', 'learn', 'measure', 'out'], {
  device: 'cuda:0',
  seed: '42',
  objective: 'both',
  shortest: '8k',
  length: '8k',
  texts: '20',
  needles: '24',
  samples: '8',
  sink: '128',
  windows: '256,512,1k,2k',
  shares: '0.33,0.24,0.14',
});
const RANDOM_DRAWS = 3;
const sinkTokens = parseCount(flags.sink);
const windows = flags.windows.split(',').map(parseCount);
const atTokens = parseCount(flags.length);
const seed = Number(flags.seed);
const folder = await openModel(flags.model);
const engine = await openEngine(folder, { device: flags.device });
const { layers, kvHeads } = engine.model;
const shared = { folder, engine, seed };

const lengths = { shortest: parseCount(flags.shortest), longest: atTokens };
const { objective } = flags;
const drawn = { ...lengths, objective, documents: flags.learn, count: Number(flags.samples) };
const samples = await drawSamples({ ...shared, ...drawn });
const startMs = performance.now();
const ladder = makeLadder(await measureSamples(engine, samples, { sinkTokens, windows }), { sinkTokens, windows });
console.log(`ladder of ${samples.length} samples: ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
const ownChange = await measureOwnChange();

const texts = await takeTexts({ folder, seed, documents: flags.measure, tokens: atTokens, count: Number(flags.texts) });
const about = { tokens: atTokens, count: Number(flags.needles), farther: windows.at(-1) };
const needles = await makeFarNeedles({ folder, seed, documents: flags.measure, ...about });
const scores = await openScores({ engine, texts, needles, window: { sinkTokens, recentTokens: windows[0] } });

const lines = ['share,mask,entries,predicted loss,kept gain,low,high,above the last quarter,low,high,loss,far needles'];
await addRow('', { name: 'full', mask: 'full' });
for (const share of flags.shares.split(',')) {
  for (const named of listMasks(Number(share))) await addRow(share, named);
}
mkdirSync(flags.out, { recursive: true });
writeFileSync(join(flags.out, 'ablation.csv'), `${lines.join('\n')}\n`);
console.log(lines.join('\n'));
await engine.close();
folder.close();

function listMasks(kvShare) {
  const byHead = cut('by head', ladder, kvShare);
  const draws = byHead.mask === null ? [] : Array.from({ length: RANDOM_DRAWS }, (_, index) => index);
  return [
    byHead,
    cut('by head, no interactions', scaleInteractions(ladder, 0), kvShare),
    cut("by head, each head's own change", ownChange, kvShare),
    cutByLayer(kvShare),
    ...draws.map((index) => ({
      name: `by head, dealt at random ${index}`,
      mask: makeRandomWindows(byHead.mask, { seed, index }),
    })),
    ...windows.map((window) => cut(`one window, ${window}`, pickWindows(ladder, [window]), kvShare)),
  ];
}

/** The mask of a ladder at a share; none where even its narrowest windows keep more. */
function cut(name, effects, kvShare, perLayer = kvHeads) {
  try {
    const { mask, predictedLoss } = cutWindows(effects, { kvShare, atTokens, kvHeads: perLayer, isBounded: false });
    return { name, mask, predictedLoss };
  } catch (error) {
    if (error.code !== 'ERR_BUDGET') throw error;
    return { name, mask: null };
  }
}

function cutByLayer(kvShare) {
  const found = cut('by layer', joinLayers(ladder, kvHeads), kvShare, 1);
  if (found.mask === null) return found;
  const rows = found.mask.windows.map(([window]) => new Array(kvHeads).fill(window));
  return { ...found, mask: { sinkTokens, windows: rows } };
}

async function addRow(share, { name, mask, predictedLoss }) {
  if (mask === null) {
    lines.push([share, `"${name}"`, 'not possible'].join(','));
    return;
  }
  const { kept, interval, late, lateInterval, loss, far } = await scores.score(mask);
  const entries = measureKvShare(mask, atTokens).toFixed(4);
  const numbers = [kept, ...(interval ?? [null, null]), late, ...(lateInterval ?? [null, null])].map(
    (value) => value?.toFixed(4) ?? '',
  );
  lines.push(
    [
      share,
      `"${name}"`,
      entries,
      predictedLoss?.toPrecision(4) ?? '',
      ...numbers,
      loss.toFixed(5),
      far?.toFixed(3) ?? '',
    ].join(','),
  );
}

/** What each head at each window alone changes of the answers' log-probabilities, in size. */
async function measureOwnChange() {
  const sums = new Float64Array(layers * kvHeads * windows.length);
  for (const { tokens, answers } of samples) {
    const positions = supervisedPositions(answers, 'predict');
    const full = await engine.scoreTokens(tokens, 'full');
    for (let option = 0; option < sums.length; option++) {
      const head = Math.floor(option / windows.length);
      const mask = { sinkTokens, windows: Array.from({ length: layers }, () => new Array(kvHeads).fill(null)) };
      mask.windows[Math.floor(head / kvHeads)][head % kvHeads] = windows[option % windows.length];
      const own = await engine.scoreTokens(tokens, mask);
      for (const at of positions) sums[option] += Math.abs(full[at] - own[at]);
    }
  }
  return changeEffects(ladder, (_, row, column) => (row === column ? sums[row] : 0));
}
