// What the KL metric of method quadratic costs on a GPU beside the CPU that it replaces: features of changes of the hidden states and their transpose, on a
// model's own output head. Checked first: inner products of features agree with the CPU's, and the transpose with the features. Random hidden states,
// so that no text is needed. Runs on the compiled JavaScript:
// node bench/gpu-kl-metric.mjs [--model folder or GGUF] [--device cuda:0] [--positions 640] [--changes 64] [--shape llama-3-8b]
// --shape: a second table line for that shape's random weights, on the GPU alone.
import { parseArgs } from 'node:util';
import { findShape } from '../dist/src/bench/shapes.js';
import { openNativeEngine, openRandomNativeEngine } from '../dist/src/engine/native/native-engine.js';
import { openModelFolder } from '../dist/src/model/folder.js';

/** The CPU computes from the weights as stored, the GPU from their float16 twins: of blocks each weight is off by 2^-11 at most. */
const AGREEMENT_LIMIT = 8e-3;
const TRANSPOSE_LIMIT = 1e-5;
const REPEATS = 3;

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'models/demo' },
    device: { type: 'string', default: 'cuda:0' },
    positions: { type: 'string', default: '640' },
    changes: { type: 'string', default: '64' },
    shape: { type: 'string' },
  },
});
const positions = Number(values.positions);
const numChanges = Number(values.changes);
if (![positions, numChanges].every((number) => Number.isInteger(number) && number > 0))
  throw new Error(`Expected --positions and --changes of at least 1, got ${values.positions} and ${values.changes}`);

const inputsOf = new Map();
function drawInputs(hidden) {
  let state = 1;
  const draw = (count, size) =>
    Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return size * (state / 2 ** 31 - 1);
    });
  const each = positions * hidden;
  if (!inputsOf.has(hidden))
    inputsOf.set(hidden, { reference: draw(each, 2), anchor: draw(each, 2), changes: draw(numChanges * each, 0.05) });
  return inputsOf.get(hidden);
}

/** Seconds of the fastest of some calls, and what the last gave. The first call makes the float16 weights and is not counted. */
async function time(body) {
  let seconds = Number.POSITIVE_INFINITY;
  let result = await body();
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const sinceMs = performance.now();
    result = await body();
    seconds = Math.min(seconds, (performance.now() - sinceMs) / 1000);
  }
  return { seconds, result };
}

async function measure(engine) {
  const { klMetric } = engine;
  const { reference, anchor, changes } = drawInputs(engine.model.hidden);
  const project = await time(() => klMetric.project({ reference, anchor }, changes));
  const vectors = project.result.map((value, index) => (index % 3 === 0 ? -1 : 1) * Math.fround(Math.abs(value) + 0.1));
  const pullBack = await time(() => klMetric.pullBack({ reference, anchor }, vectors));
  checkTranspose({ features: project.result, vectors, hidden: pullBack.result, changes });
  console.log(
    `${engine.device}: ${positions} positions, ${numChanges} changes: features ${project.seconds.toFixed(3)} s, their transpose ${pullBack.seconds.toFixed(3)} s`,
  );
  return { features: project.result, seconds: project.seconds + pullBack.seconds, kinds: klMetric.features };
}

/** Inner products of all vectors with all features, and of what they become with the changes. */
function checkTranspose({ features, vectors, hidden, changes }) {
  let [through, direct, size] = [0, 0, 0];
  for (let i = 0; i < features.length; i++) {
    through += features[i] * vectors[i];
    size += Math.abs(features[i] * vectors[i]);
  }
  for (let i = 0; i < changes.length; i++) direct += hidden[i] * changes[i];
  const error = Math.abs(through - direct) / size;
  if (!(error <= TRANSPOSE_LIMIT)) throw new Error(`Expected a transpose within ${TRANSPOSE_LIMIT}, got ${error}`);
}

/** Worst position of the inner products of the first changes' features. */
function compareProducts(found, expected, kinds) {
  const picked = Math.min(numChanges, 8);
  let worst = 0;
  for (let position = 0; position < positions; position++) {
    let [difference, largest] = [0, 0];
    for (let pair = 0; pair < picked * picked; pair++) {
      const product = (values) => {
        const [a, b] = [Math.floor(pair / picked), pair % picked].map((at) => (at * positions + position) * kinds);
        let sum = 0;
        for (let i = 0; i < kinds; i++) sum += values[a + i] * values[b + i];
        return sum;
      };
      const wanted = product(expected);
      difference = Math.max(difference, Math.abs(product(found) - wanted));
      largest = Math.max(largest, Math.abs(wanted));
    }
    worst = Math.max(worst, largest > 0 ? difference / largest : difference);
  }
  return worst;
}

const open = async (device) => {
  const folder = openModelFolder(values.model);
  const engine = await openNativeEngine(folder, { device });
  folder.close();
  return engine;
};
const cpu = await open('cpu');
const gpu = await open(values.device);
const [onCpu, onGpu] = [await measure(cpu), await measure(gpu)];
const agreement = compareProducts(onGpu.features, onCpu.features, onCpu.kinds);
if (!(agreement <= AGREEMENT_LIMIT))
  throw new Error(`Expected inner products of features within ${AGREEMENT_LIMIT} of the CPU's, got ${agreement}`);
console.log(
  `checked: inner products of features within ${agreement.toExponential(1)} of the CPU's (limit ${AGREEMENT_LIMIT}); ${(onCpu.seconds / onGpu.seconds).toFixed(1)} times as fast`,
);
await Promise.all([cpu.close(), gpu.close()]);
if (values.shape) {
  const engine = await openRandomNativeEngine(findShape(values.shape), {
    seed: 1,
    weightDtype: 'bf16',
    device: values.device,
  });
  await measure(engine);
  await engine.close();
}
