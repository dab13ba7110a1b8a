// Counts what finding the heads of a large model takes, by gate optimisation and by the quadratic method:
// `npx tsx scripts/count-quadratic.ts --shape llama-3-8b --tflops 400`. Counted, not measured; the rate is an assumption and is printed.
import { parseArgs } from 'node:util';
import { drawLength } from '../data-gen/length.ts';
import { findShape } from '../src/bench/shapes.ts';
import { loadPreset } from '../src/config/presets.ts';
import type { ModelShape } from '../src/core/shapes.ts';
import { countOptimizerForwards, countQuadraticForwards } from '../train/quadratic/cost.ts';
import { countBlocks } from '../train/quadratic/measure-sample.ts';

const SECONDS_PER_HOUR = 3600;

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'llama-3-8b' },
    tflops: { type: 'string', default: '400' },
  },
});

/** Operations of one forward pass without the vocabulary head: 2·T per weight, and 2·H·D·T² for causal scores and values per layer. */
function countForwardOperations(model: ModelShape, tokens: number): number {
  const { layers, heads, kvHeads, headDim, hidden, intermediate } = model;
  const weights = hidden * headDim * (2 * heads + 2 * kvHeads) + 3 * hidden * intermediate;
  return layers * (2 * tokens * weights + 2 * heads * headDim * tokens ** 2);
}

const shape = findShape(values.shape).shape;
const { config } = loadPreset('base');
const rate = Number(values.tflops) * 1e12;
const positions = config.passkeys * config.wordsPerPasskey;
const presetLengths = Array.from({ length: config.steps }, (_, index) =>
  drawLength(config, { seed: config.seed, split: 'train', index }),
);
const meanOf = (numbers: readonly number[]): number => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
const presetForward = meanOf(presetLengths.map((tokens) => countForwardOperations(shape, tokens)));

interface Row {
  readonly name: string;
  readonly lengths: string;
  readonly forwards: number;
  readonly operations: number;
}

const optimiser: Row = {
  name: `gates, ${config.steps} steps`,
  lengths: `${config.minTokens} … ${config.maxTokens}`,
  forwards: countOptimizerForwards(config.steps),
  operations: countOptimizerForwards(config.steps) * presetForward,
};
const size = { numHeads: shape.layers * shape.kvHeads, length: positions * shape.hidden };
const quadratic = [
  [1, 1],
  [1, 2],
  [1, 4],
  [2, 2],
].flatMap(([rounds, samples]): Row[] => {
  const { layers, kvHeads } = shape;
  const counts = { layers, kvHeads, callsPerSample: countBlocks(size), samples: samples!, rounds: rounds! };
  const forwards = countQuadraticForwards(counts);
  const name = `quadratic, ${samples} sample${samples === 1 ? '' : 's'}, ${rounds} round${rounds === 1 ? '' : 's'}, elimination`;
  return [
    { name, forwards, lengths: optimiser.lengths, operations: forwards * presetForward },
    { name, forwards, lengths: '8192', operations: forwards * countForwardOperations(shape, 8192) },
  ];
});

console.log(
  `${values.shape}: ${size.numHeads} KV heads; ${positions} supervised positions per sample; hours at ${values.tflops} TFLOP/s, counted. Mean of the preset's lengths: ${Math.round(meanOf(presetLengths))} tokens.\n`,
);
console.log(
  '| method | tokens per sample | forward passes | share of the optimiser’s | operations | hours | minutes |',
);
console.log('|---|---|---|---|---|---|---|');
for (const { name, lengths, forwards, operations } of [optimiser, ...quadratic]) {
  const seconds = operations / rate;
  const share = `${((100 * forwards) / optimiser.forwards).toFixed(1)} %`;
  console.log(
    `| ${name} | ${lengths} | ${Math.round(forwards)} | ${share} | ${operations.toExponential(2)} | ${(seconds / SECONDS_PER_HOUR).toFixed(2)} | ${(seconds / 60).toFixed(1)} |`,
  );
}
