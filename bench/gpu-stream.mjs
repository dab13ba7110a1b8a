// A model larger than the card, its layers' weights streamed from pinned host memory (--weights-on host): seconds of identification steps, of a measured
// sample (a sketch, method quadratic) and of a prefill, each beside its two floors: the bytes that it copied over the measured rate of copies, and its
// products over the measured matrix rate (of a sample the products with weights alone). Random weights of a few layers, which the others share.
// Checked first: with as many layers as the card holds, streamed weights give the bits of weights on the card, and with S + R ≥ T all gates give the loss 0.
// Runs on the compiled JavaScript:
// node bench/gpu-stream.mjs [--shape llama-3-70b] [--device cuda:0] [--steps 8192,16384] [--sample 8192] [--vectors 16] [--prefill 32768] [--seconds 280]
import { parseArgs } from 'node:util';
import { checkDistill, measureDistill } from '../dist/src/bench/distill-bench.js';
import { findShape } from '../dist/src/bench/shapes.js';
import { openRandomNativeEngine } from '../dist/src/engine/native/native-engine.js';
import { measureDevice } from '../dist/src/native/devices.js';
import { countPrefillOperations } from '../dist/src/runtime/operations.js';
import { sketchSample } from '../dist/train/quadratic/sketch-sample.js';

const WINDOW = { sinkTokens: 128, recentTokens: 256 };
/** Ten passkeys of 32 words, in tokens: what a sample of the recipe supervises. */
const SUPERVISED_TOKENS = 640;
/** Layers of the comparison with weights on the card, and its tokens. */
const COMPARED = { layers: 4, tokens: 2048 };
/** Far more bytes than any cache holds. */
const DISTINCT_LAYERS = 4;
/** A layer of this many tokens takes longer than its copy. */
const CHUNK_TOKENS = 16_384;

const { values: flags } = parseArgs({
  options: {
    shape: { type: 'string', default: 'llama-3-70b' },
    device: { type: 'string', default: 'cuda:0' },
    steps: { type: 'string', default: '8192,16384' },
    sample: { type: 'string', default: '8192' },
    vectors: { type: 'string', default: '16' },
    prefill: { type: 'string', default: '32768' },
    seconds: { type: 'string', default: '280' },
  },
});
const startMs = performance.now();
const secondsSince = (sinceMs) => (performance.now() - sinceMs) / 1000;
const { device } = flags;
const config = findShape(flags.shape);
await compareBits();
const upload = await measureDevice('upload-bandwidth', { device });
const matrix = await measureDevice('matmul-bf16', { device });
const engine = await open(config, 'host');
const { passBytes, pinnedBytes, deviceBytes } = engine.streamed();
const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;
console.log(
  `${flags.shape} on ${engine.device}: ${config.shape.layers} layers, random bf16 weights of ${DISTINCT_LAYERS}, which the others share (${gigabytes(pinnedBytes)} pinned); a pass copies ${gigabytes(passBytes)}, ${gigabytes(deviceBytes)} of weights on the card; copies ${gigabytes(upload)}/s, bf16 matrix product ${(matrix / 1e12).toFixed(0)} TFLOP/s; ready after ${secondsSince(startMs).toFixed(0)} s`,
);
const check = await checkDistill(engine);
if (!check.holds) throw new Error(`Expected that ${check.law} within ${check.limit}, got ${check.error}`);
for (const tokens of flags.steps.split(',').map(Number)) await unlessLate(`step of ${tokens}`, () => timeStep(tokens));
await unlessLate('prefill', () => timePrefill(Number(flags.prefill)));
await unlessLate('sample', () => timeSample(Number(flags.sample), Number(flags.vectors)));
await engine.close();

function open(shape, weightsOn) {
  const distinctLayers = Math.min(DISTINCT_LAYERS, shape.shape.layers);
  return openRandomNativeEngine(shape, { seed: 42, weightDtype: 'bf16', device, weightsOn, distinctLayers });
}

function makeSample(tokens) {
  return {
    tokens: Array.from({ length: tokens }, (_, index) => (index * 7919 + 1) % config.shape.vocab),
    answers: [[tokens - SUPERVISED_TOKENS, tokens]],
  };
}

/** Every head's gate. */
function makeGates(layers, gate) {
  return Array.from({ length: layers }, () => new Array(config.shape.kvHeads).fill(gate));
}

async function compareBits() {
  const shape = findShape(flags.shape, { layers: COMPARED.layers });
  const found = [];
  for (const weightsOn of ['device', 'host']) {
    const opened = await open(shape, weightsOn);
    if ((opened.streamed() !== null) !== (weightsOn === 'host'))
      throw new Error(`Expected weights on the ${weightsOn}, found them elsewhere`);
    const sample = makeSample(COMPARED.tokens);
    const { loss, gradient } = await opened.distill(sample, makeGates(COMPARED.layers, 0.5), WINDOW);
    const hidden = await opened.computeHidden(sample, makeGates(COMPARED.layers, 0.5), WINDOW);
    found.push({ loss, gradient: gradient.flat(), hidden });
    await opened.close();
  }
  const [resident, streamed] = found;
  const isSame =
    resident.loss === streamed.loss &&
    resident.gradient.every((value, index) => value === streamed.gradient[index]) &&
    resident.hidden.every((value, index) => value === streamed.hidden[index]);
  if (!isSame) throw new Error('Expected streamed weights to give the bits of weights on the card, they do not');
  console.log(
    `checked: ${COMPARED.layers} layers, ${COMPARED.tokens} tokens: loss, gradient and f16 hidden states have the same bits`,
  );
}

async function unlessLate(name, body) {
  if (secondsSince(startMs) < Number(flags.seconds)) return body();
  console.log(`skipped, no time left: ${name}`);
  process.exitCode = 1;
}

function report(name, { seconds, copiedBytes, operations }) {
  const copies = copiedBytes / upload;
  const products = operations / matrix;
  const share = seconds / Math.max(copies, products);
  console.log(
    `${name}: ${seconds.toFixed(3)} s; floors: ${gigabytes(copiedBytes)} copied ${copies.toFixed(3)} s, products ${products.toFixed(3)} s; ${share.toFixed(3)} times the larger`,
  );
}

async function timeStep(tokens) {
  const found = await measureDistill(engine, { tokens, window: WINDOW, repeats: 1, seed: 1 });
  report(`identification step, ${tokens} tokens`, { ...found, seconds: Math.min(...found.seconds) });
}

async function timeOf(body) {
  const before = engine.streamed().copiedBytes;
  const sinceMs = performance.now();
  await body();
  return { seconds: secondsSince(sinceMs), copiedBytes: engine.streamed().copiedBytes - before };
}

async function timePrefill(tokens) {
  const session = await engine.openSession('full', { maxTokens: tokens, kvDtype: 'int8', chunkTokens: CHUNK_TOKENS });
  const found = await timeOf(() => session.prefill(makeSample(tokens).tokens));
  await session.close();
  const { linear, attention } = countPrefillOperations({ config, mask: 'full', tokens });
  report(`prefill, ${tokens} tokens, int8 KV`, { ...found, operations: linear + attention });
}

/** The first measurement of a sample by method quadratic, by sketches. */
async function timeSample(tokens, vectors) {
  const { layers } = config.shape;
  const options = { engine, window: WINDOW, supervise: 'predict', step: 1, vectors, sampleIndex: 0 };
  // Once untimed: the first f16 pass makes the twins of what stays on the card.
  await engine.computeHidden(makeSample(SUPERVISED_TOKENS + 1), 'full', WINDOW);
  let gram;
  const found = await timeOf(async () => {
    gram = await sketchSample(makeSample(tokens), makeGates(layers, 1), options);
  });
  if (!gram.every(Number.isFinite) || !gram.some((value) => value > 0)) throw new Error('Expected a finite Q, not 0');
  report(`measured sample, ${tokens} tokens, ${vectors} vectors`, {
    ...found,
    operations: countSketchOperations(tokens, vectors),
  });
}

/** Products with weights: forward; queries, keys and values for both passes back, output and gate products again; back for each vector. */
function countSketchOperations(tokens, vectors) {
  const { layers, heads, kvHeads, headDim, hidden, intermediate } = config.shape;
  const qkv = hidden * headDim * (heads + 2 * kvHeads);
  const output = hidden * headDim * heads;
  const mlp = 3 * hidden * intermediate;
  const again = 2 * qkv + output + 2 * hidden * intermediate;
  return 2 * tokens * layers * ((1 + vectors) * (qkv + output + mlp) + again);
}
