// Ladders of windows for the benches of masks: samples drawn as `duo identify` draws them, their effects sample by sample, so that one measurement
// serves many sums, and the same effects with something left out (other windows, no interactions, one window per layer).
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { takeTurn } from '../dist/identify/objective.js';
import { openObjectiveSource } from '../dist/identify/objective-source.js';
import { resolveSettings } from '../dist/src/config/settings.js';
import { makeLadderEffects } from '../dist/src/formats/ladder-effects.js';
import { isDemoModel } from '../dist/src/model/open-model.js';
import { countPairs, measureLadder } from '../dist/train/quadratic/measure-ladder.js';
import { shrinkSketch } from '../dist/train/quadratic/shrink-sketch.js';

/** Samples of an objective between two lengths, with what kind each is. @param config other keys of a preset. */
export async function drawSamples({
  folder,
  engine,
  documents,
  objective,
  shortest,
  longest,
  count,
  seed,
  config = {},
}) {
  const { shape } = folder.config;
  const preset = isDemoModel(folder) ? 'demo' : shape.architecture;
  const overrides = { objective, seed, minTokens: shortest, maxTokens: longest, ...config };
  const settings = resolveSettings({ preset, overrides, shape });
  const haystackPath = isDemoModel(folder) ? undefined : documents;
  const source = await openObjectiveSource({
    ...{ folder, engine, objective, haystackPath, split: 'train', config: settings.config, given: settings.given },
    ...{ documentsPath: documents, isCut: true },
  });
  try {
    const samples = [];
    for (let index = 0; index < count; index++) {
      const isLongRange = takeTurn(objective, index).objective === 'long-range';
      samples.push({ ...(await source.sampleAt(index)), isLongRange });
    }
    return samples;
  } finally {
    source.close();
  }
}

/** How `duo identify` measures a sample by default. */
export function distanceOf({ isLongRange }) {
  return isLongRange ? 'kl' : 'hidden';
}

/** Effects of each sample: `{ tokens, triangle, isLongRange }`. */
export async function measureSamples(engine, samples, { sinkTokens, windows }) {
  const scratchFolder = join(tmpdir(), `duo-ladders-${process.pid}`);
  const measured = [];
  for (const sample of samples) {
    const options = { engine, supervise: 'predict', distance: distanceOf(sample), sinkTokens, windows, scratchFolder };
    const triangle = await measureLadder(sample, options);
    measured.push({ tokens: sample.tokens.length, triangle, isLongRange: sample.isLongRange });
  }
  return measured;
}

/** Sum of the effects on the diagonal: what all heads lose alone, over all windows. */
export function measureTrace({ triangle }) {
  let trace = 0;
  for (let row = 0; countPairs(row) < triangle.length; row++) trace += triangle[countPairs(row + 1) - 1];
  return trace;
}

/** The ladder of several samples. @param weigh factor of a sample; default: those of both objectives to the same trace, as `duo identify` sums them.
 * @param draws random vectors of all samples where they were sketched, 0 = they were probed. */
export function makeLadder(measured, { sinkTokens, windows }, weigh = balance(measured), draws = 0) {
  const pairs = measured[0].triangle.length;
  const size = Math.round((Math.sqrt(8 * pairs + 1) - 1) / 2);
  const sums = new Float64Array(pairs);
  for (const sample of measured) {
    const factor = weigh(sample) / measured.length;
    for (let at = 0; at < pairs; at++) sums[at] += factor * sample.triangle[at];
  }
  const matrix = new Float64Array(size * size);
  for (let row = 0, at = 0; row < size; row++) {
    for (let column = 0; column <= row; column++, at++) {
      matrix[row * size + column] = sums[at];
      matrix[column * size + row] = sums[at];
    }
  }
  if (draws > 0) shrinkSketch(matrix, { headOf: (row) => Math.floor(row / windows.length), draws });
  const tokens = Math.max(...measured.map((sample) => sample.tokens));
  return makeLadderEffects({ sink: sinkTokens, windows: [...windows], tokens, matrix });
}

/** Factors that bring passkeys and long-range samples to the same trace, 1 where there is one kind alone. */
export function balance(measured) {
  const kinds = [false, true].map((kind) => measured.filter(({ isLongRange }) => isLongRange === kind));
  if (kinds.some((samples) => samples.length === 0)) return () => 1;
  const traces = kinds.map((samples) => samples.reduce((sum, sample) => sum + measureTrace(sample), 0));
  return ({ isLongRange }) => measured.length / 2 / traces[Number(isLongRange)];
}

/** Effects where `change` says what entry (row, column ≤ row) becomes. */
export function changeEffects(ladder, change) {
  const effects = ladder.effects.map((row, r) => row.map((value, c) => change(value, r, c)));
  return { ...ladder, effects };
}

/** A ladder of some of its windows. */
export function pickWindows(ladder, windows) {
  const count = ladder.windows.length;
  const rungs = windows.map((window) => ladder.windows.indexOf(window));
  const options = Array.from({ length: ladder.effects.length / count }, (_, head) =>
    rungs.map((rung) => head * count + rung),
  ).flat();
  return { ...ladder, windows, effects: pickOptions(ladder, options) };
}

/** Rows and columns of some options, in their order. */
export function pickOptions({ effects }, options) {
  const at = (row, column) => effects[Math.max(row, column)][Math.min(row, column)];
  return options.map((row, index) => options.slice(0, index + 1).map((column) => at(row, column)));
}

/** Interactions of two heads times `factor`: 0 = each head's effect for itself. */
export function scaleInteractions(ladder, factor) {
  const rungs = ladder.windows.length;
  const headOf = (option) => Math.floor(option / rungs);
  return changeEffects(ladder, (value, row, column) => (headOf(row) === headOf(column) ? value : factor * value));
}

/** One option per layer and window: all its heads take that window. */
export function joinLayers(ladder, kvHeads) {
  const rungs = ladder.windows.length;
  const layers = ladder.effects.length / rungs / kvHeads;
  const joined = Array.from({ length: layers * rungs }, (_, index) => new Array(index + 1).fill(0));
  const optionOf = (option) => Math.floor(option / rungs / kvHeads) * rungs + (option % rungs);
  for (const [row, values] of ladder.effects.entries()) {
    for (const [column, value] of values.entries()) {
      const [a, b] = [optionOf(row), optionOf(column)];
      // each pair of the triangle stands for two of the square; on the new diagonal both fall together
      const factor = row !== column && a === b ? 2 : 1;
      joined[Math.max(a, b)][Math.min(a, b)] += factor * value;
    }
  }
  return { ...ladder, effects: joined };
}
