// What a ladder of windows costs and how well a sketch tells it: of each of the first samples of a file, seconds of one window probed, of all windows
// probed, and of sketches by several numbers of vectors; then how the sketches' sums over the samples agree with the probed ones: correlation of the
// logarithms of the diagonal (what each head at each window costs alone), and of the other entries over the roots of their diagonals.
// Runs on the compiled JavaScript:
// node bench/gpu-ladder.mjs --model <model> --samples <f.jsonl> [--device cuda:0] [--count 8] [--sink 128] [--windows 256,512,1k,2k] [--vectors 8,16,32,64]
import { parseArgs } from 'node:util';
import { openModel } from '../dist/src/cli/open.js';
import { parseCount } from '../dist/src/config/flags.js';
import { openNativeEngine } from '../dist/src/engine/native/native-engine.js';
import { readSamples } from '../dist/src/formats/samples.js';
import { measureLadder } from '../dist/train/quadratic/measure-ladder.js';
import { sketchLadder } from '../dist/train/quadratic/sketch-ladder.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    samples: { type: 'string' },
    device: { type: 'string', default: 'cuda:0' },
    count: { type: 'string', default: '8' },
    sink: { type: 'string', default: '128' },
    windows: { type: 'string', default: '256,512,1k,2k' },
    vectors: { type: 'string', default: '8,16,32,64' },
  },
});
if (!values.model || !values.samples) throw new Error('Expected --model and --samples');
const windows = values.windows.split(',').map(parseCount);
const vectors = values.vectors.split(',').map(Number);
const folder = await openModel(values.model);
const engine = await openNativeEngine(folder, { device: values.device });
folder.close();
const common = {
  engine,
  sinkTokens: Number(values.sink),
  supervise: 'predict',
  scratchFolder: 'runs/.gpu-ladder',
};
const { layers, kvHeads } = engine.model;
console.log(
  `${values.model} on ${engine.device}: ${layers} layers, ${layers * kvHeads} KV heads; S ${values.sink}, windows ${windows.join(', ')}`,
);

const ways = [
  {
    name: `one window of ${windows[0]} probed`,
    measure: (sample) => measureLadder(sample, { ...common, windows: windows.slice(0, 1) }),
  },
  { name: 'all windows probed', measure: (sample) => measureLadder(sample, { ...common, windows }) },
  ...vectors.map((count) => ({
    name: `sketch of ${count} vectors`,
    measure: (sample, sampleIndex) => sketchLadder(sample, { ...common, windows, vectors: count, sampleIndex }),
  })),
];
const seconds = ways.map(() => []);
const sums = ways.map(() => null);
let index = 0;
for (const sample of readSamples(values.samples)) {
  if (index === Number(values.count)) break;
  // Once untimed: the first call of a process makes the weights' f16 twins.
  if (index === 0) await ways[0].measure(sample, index);
  for (const [at, { measure }] of ways.entries()) {
    const sinceMs = performance.now();
    const triangle = await measure(sample, index);
    seconds[at].push((performance.now() - sinceMs) / 1000);
    if (!triangle.every(Number.isFinite)) throw new Error(`Expected finite inner products of ${ways[at].name}`);
    sums[at] = sums[at] ? sums[at].map((sum, entry) => sum + triangle[entry]) : triangle;
  }
  const last = seconds.map((list) => list.at(-1).toFixed(2)).join(' ');
  console.log(`sample ${index}, ${sample.tokens.length} tokens: ${last} s`);
  index++;
}
const total = (list) => list.reduce((sum, value) => sum + value, 0);
for (const [at, { name }] of ways.entries()) {
  const cost = `${(total(seconds[at]) / index).toFixed(3)} s per sample, ${(total(seconds[at]) / total(seconds[0])).toFixed(2)} of one window's`;
  console.log(`${name}: ${cost}${at < 2 ? '' : `; ${compare(sums[at], sums[1])}`}`);
}
await engine.close();

function compare(found, expected) {
  const size = Math.round((Math.sqrt(8 * found.length + 1) - 1) / 2);
  const entry = (triangle, row, column) => triangle[(row * (row + 1)) / 2 + column];
  const diagonals = [[], []];
  const others = [[], []];
  for (const [side, triangle] of [found, expected].entries()) {
    for (let row = 0; row < size; row++) {
      diagonals[side].push(Math.log(Math.max(entry(triangle, row, row), Number.MIN_VALUE)));
      for (let column = 0; column < row; column++) {
        const scale = Math.sqrt(entry(triangle, row, row) * entry(triangle, column, column));
        others[side].push(scale > 0 ? entry(triangle, row, column) / scale : 0);
      }
    }
  }
  const lean = diagonals[0].reduce((sum, value, row) => sum + value - diagonals[1][row], 0) / size;
  return `correlation of log diagonals ${correlate(...diagonals).toFixed(3)} (mean ratio ${Math.exp(lean).toFixed(2)}), of the other entries ${correlate(...others).toFixed(3)}`;
}

function correlate(a, b) {
  const mean = (list) => total(list) / list.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let at = 0; at < a.length; at++) {
    ab += (a[at] - meanA) * (b[at] - meanB);
    aa += (a[at] - meanA) ** 2;
    bb += (b[at] - meanB) ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}
