// Windows measured at two short lengths, asked to hold at a long one, at equal KV entries there: fixed windows (so many tokens at every length) beside rules
// w = β·N that grow with the length N (MoA, arXiv 2406.14909), heads that may take either, and windows measured at the long length itself.
// A rule of a head is cut at the long length into the plain window that it has there.
//   node bench/extrapolate-windows.mjs --model <model> --learn <documents> --measure <documents> --out <folder> [--device cuda:0] [--seed 42] [--objective both]
//     [--lengths 2k,4k] [--asked 8k] [--samples 8] [--texts 20] [--needles 16] [--sink 128] [--windows 256,512,1k,2k] [--shares 0.33,0.24,0.14]
// --windows are those at the asked length; at half of it a rule has half of them. With --objective passkey masks are scored by the recall of held-out samples
// of the asked length, else by kept gain. Writes <out>/extrapolation.csv, and prints it.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cutWindows } from '../dist/export/cut-windows.js';
import { parseCount } from '../dist/src/config/flags.js';
import { measureKvShare } from '../dist/src/core/kv-cost.js';
import { scaleWindows } from '../dist/src/core/window-rule.js';
import { openEngine } from '../dist/src/engine/open-engine.js';
import { makeRecallMeasure } from '../dist/src/eval/kept-measures.js';
import { openModel } from '../dist/src/model/open-model.js';
import { makeFarNeedles, openScores, takeTexts } from './held-out-scores.mjs';
import { drawSamples, makeLadder, measureSamples, pickOptions } from './ladders.mjs';
import { readFlags } from './read-flags.mjs';

const flags = readFlags(['model', 'learn', 'measure', 'out'], {
  device: 'cuda:0',
  seed: '42',
  objective: 'both',
  lengths: '2k,4k',
  asked: '8k',
  samples: '8',
  texts: '20',
  needles: '16',
  sink: '128',
  windows: '256,512,1k,2k',
  shares: '0.33,0.24,0.14',
});
const sinkTokens = parseCount(flags.sink);
const windows = flags.windows.split(',').map(parseCount);
const asked = parseCount(flags.asked);
const lengths = flags.lengths.split(',').map(parseCount);
const { objective } = flags;
const seed = Number(flags.seed);
const folder = await openModel(flags.model);
const engine = await openEngine(folder, { device: flags.device });
const { kvHeads } = engine.model;
const documents = flags.learn;
const draw = (length, seedOf, count) =>
  drawSamples({ folder, engine, documents, objective, shortest: length, longest: length, count, seed: seedOf });

// the rule of `duo identify --window-rule proportional`, its windows named at the asked length
const rule = { name: 'proportional', namedAt: asked };
const measured = new Map();
for (const length of [...lengths, asked]) {
  const ruled = scaleWindows(windows, { rule, tokens: length });
  // wider than the sample is no window there
  const all = [...new Set([...ruled, ...windows.filter((window) => sinkTokens + window < length)])].sort(
    (a, b) => a - b,
  );
  const startMs = performance.now();
  const rungs = { sinkTokens, windows: all };
  const ladder = makeLadder(
    await measureSamples(engine, await draw(length, seed, Number(flags.samples)), rungs),
    rungs,
  );
  measured.set(length, ladder);
  console.log(`${length} tokens, windows ${all.join(', ')}: ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
}
const fixed = windows.map((window) => ({ window, at: () => window }));
const rules = windows.map((window, rung) => ({
  window,
  at: (length) => scaleWindows(windows, { rule, tokens: length })[rung],
}));
// what a ladder up to a quarter of the longest sample is where windows stay as many tokens
const kept = rules.map(({ at }) => ({ window: at(Math.max(...lengths)), at: () => at(Math.max(...lengths)) }));
const [shortest, longest] = [Math.min(...lengths), Math.max(...lengths)];
const ladders = [
  [`fixed, measured at ${lengths.join(' and ')}`, joinLengths(fixed, lengths)],
  [`fixed, measured at ${longest}`, joinLengths(fixed, [longest])],
  [`fixed at the windows of ${longest}, measured there`, joinLengths(kept, [longest])],
  [`rules, measured at ${lengths.join(' and ')}`, joinLengths(rules, lengths)],
  [`rules, measured at ${longest}`, joinLengths(rules, [longest])],
  [`rules, measured at ${shortest}`, joinLengths(rules, [shortest])],
  [`either, measured at ${lengths.join(' and ')}`, joinLengths([...fixed, ...rules], lengths)],
  [`measured at ${asked}`, joinLengths(fixed, [asked])],
];

const score = objective === 'passkey' ? await openRecall() : await openGain();
const lines = ['share,windows,entries,kept,low,high,above the last quarter,low,high,far needles'];
for (const share of flags.shares.split(',')) {
  for (const [name, ladder] of ladders) {
    const { mask } = cutWindows(ladder, { kvShare: Number(share), atTokens: asked, kvHeads, isBounded: false });
    const numbers = (await score(mask)).map((value) => value?.toFixed(4) ?? '');
    lines.push([share, `"${name}"`, measureKvShare(mask, asked).toFixed(4), ...numbers].join(','));
  }
}
mkdirSync(flags.out, { recursive: true });
writeFileSync(join(flags.out, 'extrapolation.csv'), `${lines.join('\n')}\n`);
console.log(lines.join('\n'));
await engine.close();
folder.close();

/** Mean effects over lengths of options that have a window at each length; windows are those at the asked length. An option that hides nothing at a
 * length has no effect there. */
function joinLengths(options, at) {
  // ascending at the asked length, as a search takes them
  const sorted = [...options].sort((a, b) => a.window - b.window);
  const parts = at.map((length) => {
    const ladder = measured.get(length);
    const heads = ladder.effects.length / ladder.windows.length;
    const rungs = sorted.map((option) => ladder.windows.indexOf(option.at(length)));
    const places = Array.from({ length: heads }, (_, head) =>
      rungs.map((rung) => (rung < 0 ? null : head * ladder.windows.length + rung)),
    ).flat();
    const known = places.filter((place) => place !== null);
    const picked = pickOptions(ladder, known);
    const indices = places.map((place) => (place === null ? null : known.indexOf(place)));
    return (row, column) => {
      const [a, b] = [indices[row], indices[column]];
      return a === null || b === null ? 0 : picked[Math.max(a, b)][Math.min(a, b)];
    };
  });
  const [{ effects, windows: first }] = [measured.get(at[0])];
  const size = (effects.length / first.length) * sorted.length;
  const sums = Array.from({ length: size }, (_, row) =>
    Array.from({ length: row + 1 }, (_, column) => parts.reduce((sum, part) => sum + part(row, column), 0) / at.length),
  );
  return { sink: sinkTokens, windows: sorted.map(({ window }) => window), tokens: Math.max(...at), effects: sums };
}

async function openGain() {
  const texts = await takeTexts({ folder, seed, documents: flags.measure, tokens: asked, count: Number(flags.texts) });
  const about = { tokens: asked, count: Number(flags.needles), farther: windows.at(-1) };
  const needles = await makeFarNeedles({ folder, seed, documents: flags.measure, ...about });
  const scores = await openScores({ engine, texts, needles, window: { sinkTokens, recentTokens: windows[0] } });
  return async (mask) => {
    const { kept, interval, late, lateInterval, far } = await scores.score(mask);
    return [kept, ...(interval ?? [null, null]), late, ...(lateInterval ?? [null, null]), far];
  };
}

/** Of samples of another seed. */
async function openRecall() {
  const samples = await draw(asked, seed + 1, Number(flags.texts));
  const measure = makeRecallMeasure({ engine, samples });
  return async (mask) => {
    const { value, interval } = await measure(mask);
    return [value, ...(interval ?? [null, null])];
  };
}
