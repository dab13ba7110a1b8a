// One sample of the quadratic method on the llama-3-8b shape (random weights) at several lengths: seconds and forward passes per sample, a table of what each
// step of a cheaper measurement takes (products on the card, sketches, several cards), and what the default recipe takes at that length beside the
// published optimisation, by the passes timed here. A length whose whole sample does not fit into the
// time left is probed at the heads of the middle layer and multiplied up by forward passes; its line says so.
// Checked first, on a short text: each probe equals the difference of two plain forward passes, and is 0 where the window holds the text; then of
// each whole sample that Q is finite, symmetric and positive, and that progress rises to 1. Runs on the compiled JavaScript:
// node bench/gpu-quadratic.mjs [--device cuda:0[,cuda:1]] [--model folder] [--seconds 150] [--vectors 16,32] [tokens …]
import { parseArgs } from 'node:util';
import { findShape } from '../dist/src/bench/shapes.js';
import { loadPreset } from '../dist/src/config/presets.js';
import { supervisedPositions } from '../dist/src/core/shapes.js';
import { openNativeEngine, openRandomNativeEngine } from '../dist/src/engine/native/native-engine.js';
import { openModelFolder } from '../dist/src/model/folder.js';
import { countMeasureForwards, countOptimizerForwards, countQuadraticForwards } from '../dist/train/quadratic/cost.js';
import { listStages } from '../dist/train/quadratic/eliminate-heads.js';
import { countBlocks, measureSample } from '../dist/train/quadratic/measure-sample.js';
import { measureOverEngines } from '../dist/train/quadratic/over-engines.js';
import { isSketched, sketchSample } from '../dist/train/quadratic/sketch-sample.js';

const SHAPE = 'llama-3-8b';
const DEFAULT_LENGTHS = [8192, 2048, 16384, 32768];
/** Ten passkeys of 32 words, in tokens: what a sample of the recipe supervises. */
const SUPERVISED_TOKENS = 640;
const CHECKED_TOKENS = 300;
/** Both ways run the same kernels on the same numbers; a wrong layer, head or gate is off by the whole difference. */
const PROBE_LIMIT = 1e-3;
const SYMMETRY_LIMIT = 1e-12;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cuda:0' },
    model: { type: 'string' },
    seconds: { type: 'string', default: '150' },
    vectors: { type: 'string', default: '16,32' },
  },
});
const lengths = positionals.length > 0 ? positionals.map(Number) : DEFAULT_LENGTHS;
const secondsAllowed = Number(values.seconds);

const config = loadPreset('base').config;
const window = { sinkTokens: config.sinkTokens, recentTokens: config.recentTokens };
const least = window.sinkTokens + window.recentTokens;
if (!lengths.every((tokens) => Number.isInteger(tokens) && tokens > least))
  throw new Error(`Expected lengths above the window's ${least} tokens, got ${lengths.join(', ')}`);
const startMs = performance.now();
const secondsSince = (sinceMs) => (performance.now() - sinceMs) / 1000;
const [device, ...otherDevices] = values.device.split(',');
const engine = await openEngine(device);
const { layers, kvHeads, hidden } = engine.model;
const numHeads = layers * kvHeads;
const full = makeGrid(() => 1);
const closed = makeGrid(() => 0);
console.log(
  `${values.model ?? `${SHAPE}, random weights`} on ${engine.device}: ${layers} layers, ${numHeads} KV heads; S ${window.sinkTokens}, R ${window.recentTokens}; opened in ${secondsSince(startMs).toFixed(0)} s`,
);
await checkProbes();
for (const tokens of lengths) await timeLength(tokens);
if (otherDevices.length > 0) await timeDevices(lengths[0]);
await engine.close();

async function openEngine(device) {
  if (!values.model)
    return openRandomNativeEngine(findShape(SHAPE), { seed: config.seed, weightDtype: 'bf16', device });
  const folder = openModelFolder(values.model);
  const opened = await openNativeEngine(folder, { device });
  folder.close();
  return opened;
}

function makeGrid(gateOf) {
  return Array.from({ length: layers }, (_, layer) =>
    Array.from({ length: kvHeads }, (_, head) => gateOf(layer * kvHeads + head)),
  );
}

function makeSample(tokens, seed = 1) {
  return {
    tokens: Array.from({ length: tokens }, (_, index) => (index * 7919 + seed) % engine.model.vocab),
    answers: [[tokens - Math.min(SUPERVISED_TOKENS, Math.floor(tokens / 2)), tokens]],
  };
}

function sumSquares(numbers) {
  return numbers.reduce((sum, value) => sum + value * value, 0);
}

/** The first and last head of the first, middle and last layer, each in a call of its own. */
async function checkProbes() {
  const sample = makeSample(CHECKED_TOKENS);
  const short = { sinkTokens: 4, recentTokens: 16 };
  const before = await engine.computeHidden(sample, 'full', short);
  let worst = 0;
  for (const layer of new Set([0, Math.floor(layers / 2), layers - 1])) {
    for (const head of new Set([layer * kvHeads, (layer + 1) * kvHeads - 1])) {
      const found = await engine.probe(sample, {
        gates: full,
        probeGates: closed,
        window: short,
        begin: head,
        end: head + 1,
      });
      const after = await engine.computeHidden(
        sample,
        makeGrid((index) => Number(index !== head)),
        short,
      );
      const expected = before.map((value, index) => value - after[index]);
      const size = Math.sqrt(sumSquares(expected));
      if (!(size > 0)) throw new Error(`Expected head ${head} to change the hidden states when it streams, it did not`);
      worst = Math.max(worst, Math.sqrt(sumSquares(found.map((value, index) => value - expected[index]))) / size);
    }
  }
  if (!(worst <= PROBE_LIMIT))
    throw new Error(`Expected a probe within ${PROBE_LIMIT} of the difference of two forward passes, got ${worst}`);
  const whole = { sinkTokens: 2, recentTokens: CHECKED_TOKENS };
  const [begin, end] = [0, Math.min(numHeads, kvHeads + 1)];
  const none = await engine.probe(sample, { gates: full, probeGates: closed, window: whole, begin, end });
  const left = Math.sqrt(sumSquares(none) / none.length);
  if (!(left <= 1e-2)) throw new Error(`Expected no change where the window holds the whole text, got ${left}`);
  console.log(
    `checked: probes are the difference of two forward passes within ${worst.toExponential(1)} (limit ${PROBE_LIMIT}); ${left.toExponential(1)} where the window holds the text`,
  );
}

async function timeLength(tokens) {
  const sample = makeSample(tokens);
  const positions = supervisedPositions(sample.answers, 'predict').length;
  const callsPerSample = countBlocks({ numHeads, length: positions * hidden });
  const forwards = countMeasureForwards({ layers, kvHeads, callsPerSample, isFirst: true });
  await engine.computeHidden(sample, 'full', window);
  const forwardMs = performance.now();
  await engine.computeHidden(sample, 'full', window);
  const forward = secondsSince(forwardMs);
  const left = secondsAllowed - secondsSince(startMs);
  // Probing costs at most a little more than its forward passes; the products of the differences come on top.
  const isWhole = 1.3 * forwards * forward <= left;
  const found = isWhole ? await timeWhole(sample) : await timeMiddleLayer(sample, forwards);
  report({ tokens, positions, forwards, forward, isWhole, ...found });
  if (isWhole) await timeSteps(sample, { probes: found.spent.probe, forward });
}

/** A whole sample, checked. */
async function timeWhole(sample) {
  const spent = { probe: 0, multiplyGram: 0 };
  const timed =
    (name) =>
    async (...inputs) => {
      const sinceMs = performance.now();
      const result = await engine[name](...inputs);
      spent[name] += secondsSince(sinceMs);
      return result;
    };
  const watched = {
    name: engine.name,
    device: engine.device,
    model: engine.model,
    computeHidden: (...inputs) => engine.computeHidden(...inputs),
    probe: timed('probe'),
    multiplyGram: timed('multiplyGram'),
  };
  const progress = [];
  const sinceMs = performance.now();
  const gram = await measureSample(sample, full, {
    engine: watched,
    window,
    supervise: config.supervise,
    step: config.quadraticStep,
    scratchFolder: 'runs/.gpu-quadratic',
    onProgress: (fraction) => progress.push(fraction),
  });
  const seconds = secondsSince(sinceMs);
  checkGram(gram);
  if (progress.at(-1) !== 1 || progress.some((value, index) => value < (progress[index - 1] ?? 0)))
    throw new Error(`Expected progress to rise to 1, got ${progress.slice(-5)}`);
  return { seconds, spent };
}

/** Seconds of the cheaper measurements of a sample, and what a run of the preset's samples takes with each. */
async function timeSteps(sample, { probes, forward }) {
  const { quadraticSamples: samples } = config;
  const openAfter = listStages(numHeads);
  // Probes cost as many passes as heads are open, spread evenly over the layers; each stage takes the residual's two passes too.
  const stageOf = (open) => (probes * open) / numHeads + 2 * forward;
  const probedStages = openAfter.reduce((sum, open) => sum + stageOf(open), 0);
  const rows = [];
  const picked = Math.min(numHeads, 32);
  const differences = await engine.probe(sample, {
    gates: full,
    probeGates: closed,
    window,
    begin: numHeads - picked,
    end: numHeads,
  });
  const length = differences.length / picked;
  const multiply = (on) => timeOf(() => on.multiplyGram(differences, differences, { length, scale: 1 / length }));
  const onCard = await multiply(engine);
  const folder = openModelFolder('models/demo');
  const cpu = await openNativeEngine(folder, { device: 'cpu' });
  folder.close();
  const onCpu = await multiply(cpu);
  await cpu.close();
  if (!onCard.result.every((value, index) => value === onCpu.result[index]))
    throw new Error('Expected products of the card to have the bits of the CPU');
  // A lower triangle of all heads holds so many times the products of the picked ones.
  const products = (numHeads / picked) ** 2;
  for (const [where, { seconds }] of [
    ['CPU', onCpu],
    ['card', onCard],
  ]) {
    const all = seconds * products;
    rows.push([
      `probes, products on the ${where} (${all.toFixed(1)} s, from those of ${picked} heads)`,
      probes + all,
      probedStages,
    ]);
  }
  for (const vectors of values.vectors.split(',').map(Number)) {
    const options = {
      engine,
      window,
      supervise: config.supervise,
      step: config.quadraticStep,
      vectors,
      sampleIndex: 0,
    };
    const first = await timeOf(() => sketchSample(sample, full, options));
    checkGram(first.result);
    // Every second head streams, as in the first stage of elimination.
    const mask = makeGrid((index) => index % 2);
    const around = await timeOf(() => sketchSample(sample, mask, options));
    const stages = openAfter.reduce((sum, open) => {
      const gates = makeGrid((index) => Number(index < open));
      return sum + (isSketched(gates, { open, kvHeads, vectors }) ? around.seconds : stageOf(open));
    }, 0);
    const name = `sketches of ${vectors} vectors where they are cheaper (${first.seconds.toFixed(1)} s around all heads full, ${around.seconds.toFixed(1)} s around a mask)`;
    rows.push([name, first.seconds, stages]);
  }
  for (const [name, first, stages] of rows)
    console.log(
      `       ${name}: ${first.toFixed(1)} s per sample and ${stages.toFixed(1)} s of elimination, ${((first + stages) * samples).toFixed(0)} s for ${samples} samples`,
    );
}

async function timeOf(action) {
  const sinceMs = performance.now();
  const result = await action();
  return { result, seconds: secondsSince(sinceMs) };
}

/** As many samples as devices, on one and on all of them. */
async function timeDevices(tokens) {
  const helpers = [];
  for (const other of otherDevices) helpers.push(await openEngine(other));
  const count = helpers.length + 1;
  const measureAll = async (engines) => {
    const found = [];
    await measureOverEngines({
      ...{ begin: 0, end: count, engines, sampleAt: (index) => makeSample(tokens, index + 1) },
      measure: (sample, { engine: own, slot }) =>
        measureSample(sample, full, {
          ...{ engine: own, window, supervise: config.supervise, step: config.quadraticStep },
          scratchFolder: `runs/.gpu-quadratic-${slot}`,
        }),
      onMeasured: (gram) => found.push(gram),
      onProgress() {},
    });
    return found;
  };
  // Once untimed: the first call on a card makes the weights' f16 twins.
  for (const helper of helpers) await helper.computeHidden(makeSample(CHECKED_TOKENS), 'full', window);
  const all = await timeOf(() => measureAll([engine, ...helpers]));
  const one = await timeOf(() => measureAll([engine]));
  if (!one.result.every((gram, sample) => gram.every((value, at) => value === all.result[sample][at])))
    throw new Error('Expected the same bytes from several cards');
  console.log(
    `${count} samples of ${tokens} tokens, measured once: one card ${one.seconds.toFixed(1)} s, ${count} cards ${all.seconds.toFixed(1)} s, ${(one.seconds / all.seconds).toFixed(2)} times as fast, the same bits`,
  );
  for (const helper of helpers) await helper.close();
}

/** The heads of the middle layer in one call: the layers below once, then those from it on for the unchanged model and for each head. */
async function timeMiddleLayer(sample, forwards) {
  const layer = Math.floor(layers / 2);
  const request = { gates: full, probeGates: closed, window, begin: layer * kvHeads, end: (layer + 1) * kvHeads };
  const sinceMs = performance.now();
  const found = await engine.probe(sample, request);
  const seconds = secondsSince(sinceMs);
  if (!found.every(Number.isFinite)) throw new Error('Expected finite differences');
  const probed = (layer + (1 + kvHeads) * (layers - layer)) / layers;
  return { seconds: (seconds / probed) * forwards, spent: null };
}

function checkGram(gram) {
  const size = numHeads + 1;
  let largest = 0;
  let asymmetry = 0;
  for (let row = 0; row < size; row++) {
    const weight = gram[row * size + row];
    if (!(weight >= 0 && Number.isFinite(weight)))
      throw new Error(`Expected the weight of head ${row} to be finite and at least 0, got ${weight}`);
    largest = Math.max(largest, weight);
    for (let column = 0; column < row; column++) {
      const value = gram[row * size + column];
      const bound = Math.sqrt(weight * gram[column * size + column]);
      if (!(Math.abs(value) <= bound * (1 + 1e-9)))
        throw new Error(`Expected |Q[${row}][${column}]| ≤ ${bound}, got ${value}`);
      asymmetry = Math.max(asymmetry, Math.abs(value - gram[column * size + row]));
    }
  }
  if (!(largest > 0 && asymmetry <= SYMMETRY_LIMIT * largest))
    throw new Error(`Expected a symmetric Q that is not 0, got ${largest}, asymmetry ${asymmetry}`);
}

function report({ tokens, positions, forwards, forward, isWhole, seconds, spent }) {
  const { quadraticSamples: samples, quadraticRounds: rounds, steps } = config;
  const callsPerSample = countBlocks({ numHeads, length: positions * hidden });
  const perPass = seconds / forwards;
  const recipe = countQuadraticForwards({ layers, kvHeads, callsPerSample, samples, rounds });
  const more = countQuadraticForwards({ layers, kvHeads, callsPerSample, samples, rounds: rounds + 1 });
  const optimizer = countOptimizerForwards(steps);
  const minutes = (passes, each) => `${((passes * each) / 60).toFixed(1)} min`;
  const counted = (passes) => `${passes.toFixed(0)} passes, ${((100 * passes) / optimizer).toFixed(1)} %`;
  const parts = spent
    ? `probes ${spent.probe.toFixed(1)} s, products ${spent.multiplyGram.toFixed(1)} s`
    : 'from the heads of the middle layer';
  console.log(
    `${String(tokens).padStart(6)} tokens, ${positions} supervised: ${isWhole ? '' : 'about '}${seconds.toFixed(1)} s per sample (${parts}), ${forwards.toFixed(1)} forward passes counted; one alone ${forward.toFixed(3)} s, so ${(seconds / forward).toFixed(1)} forward-equivalents`,
  );
  console.log(
    `       the preset's ${samples} samples, rounds ${rounds}, with elimination: ${minutes(recipe, perPass)} (${counted(recipe)}); one round more: ${minutes(more, perPass)} (${counted(more)}); gates, ${steps} steps: ${minutes(optimizer, forward)} (${optimizer} passes, counted)`,
  );
}
