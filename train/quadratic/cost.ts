// What the quadratic method and the gate optimisation cost, in forward passes of the same sample: the unit that compares them on any
// machine. A layer counts 1/L, whatever its attention; a backward pass through frozen weights counts two forward passes.

import type { ModelShape } from '../../src/core/shapes.ts';
import { listStages } from './eliminate-heads.ts';

/** Teacher forward, student forward, and a backward pass that computes the layers again and their input gradients. */
const FORWARDS_PER_STEP = 4;

/** Input gradients through frozen weights, with a layer's activations computed again but its attention. */
const FORWARDS_PER_VECTOR = 2;

/** Forward passes of one sample in one round: heads of layer l run layers l … L−1, the layers below are shared.
 * @param options.callsPerSample engine calls its heads are split into; each runs the base pass once more.
 * @param options.isFirst true where the gates are all 1 and the residual is known to be zero; elsewhere it takes a pass. */
export function countMeasureForwards(options: {
  layers: number;
  kvHeads: number;
  callsPerSample: number;
  isFirst: boolean;
}): number {
  const { layers, kvHeads, callsPerSample, isFirst } = options;
  return callsPerSample + (kvHeads * (layers + 1)) / 2 + (isFirst ? 0 : 1);
}

/** Bytes that a sketch holds in addition to a pass: a gradient of the stream per vector, on a CPU up to a gibibyte of them at once. A GPU carries as many as its
 * memory holds, with a gradient of the heads' outputs each, and keeps the inputs of all layers and what each window takes from the outputs, fp32. */
export function countSketchBytes(options: {
  tokens: number;
  model: Pick<ModelShape, 'layers' | 'heads' | 'headDim' | 'hidden'>;
  vectors: number;
  windows: number;
  isGpu: boolean;
}): number {
  const { tokens, model, vectors, windows, isGpu } = options;
  const each = Float32Array.BYTES_PER_ELEMENT * tokens * model.hidden;
  if (!isGpu) return Math.max(each, Math.min(vectors * each, 2 ** 30));
  const outputs = Float32Array.BYTES_PER_ELEMENT * tokens * model.heads * model.headDim;
  return vectors * (each + outputs / 2) + countSketchInputBytes(model, tokens) + windows * outputs;
}

/** Bytes of the inputs of all layers, fp32, that a sketch keeps on a GPU. */
export function countSketchInputBytes(
  { layers, hidden }: Pick<ModelShape, 'layers' | 'hidden'>,
  tokens: number,
): number {
  return Float32Array.BYTES_PER_ELEMENT * layers * hidden * tokens;
}

/** Forward passes of one sample in one round, probed, or sketched by `sketchVectors` where that is cheaper.
 * @param options.sketchVectors default 0 = probed. */
function countRoundForwards(options: Parameters<typeof countMeasureForwards>[0] & { sketchVectors?: number }): number {
  const { isFirst, sketchVectors = 0 } = options;
  const probed = countMeasureForwards(options);
  if (sketchVectors === 0) return probed;
  // Away from all heads full the residual is a vector too, and takes a pass.
  return Math.min(probed, countSketchForwards(sketchVectors + Number(!isFirst)) + Number(!isFirst));
}

/** Forward passes of one sample in all stages of elimination, whose open heads are taken to spread evenly over the layers. */
export function countEliminationForwards(options: {
  layers: number;
  kvHeads: number;
  callsPerSample: number;
  sketchVectors?: number;
}): number {
  const { layers, kvHeads } = options;
  const heads = layers * kvHeads;
  return listStages(heads)
    .map((open) => countRoundForwards({ ...options, kvHeads: (kvHeads * open) / heads, isFirst: false }))
    .reduce((sum, count) => sum + count, 0);
}

/** Forward passes of one sample over a ladder of `windows` windows, probed, or sketched by `vectors` of them. */
export function countLadderForwards(options: {
  layers: number;
  kvHeads: number;
  callsPerSample: number;
  windows: number;
  vectors?: number;
}): number {
  const { windows, vectors = 0 } = options;
  if (windows > 0 && vectors > 0) return countSketchForwards(vectors);
  return windows * countMeasureForwards({ ...options, isFirst: true });
}

/** Forward passes of a sketch of one sample, whatever its windows: one, and one backward pass per vector, which computes layers again. */
export function countSketchForwards(vectors: number): number {
  return 1 + FORWARDS_PER_VECTOR * vectors;
}

/** Of the noise floor: the full model, and the full model rounded otherwise. */
const NOISE_FORWARDS = 2;

/** Forward passes of all rounds, of the elimination and of the noise floor, with one of the full model per sample. Each round but an only one tries at least one
 * step, at one pass per sample.
 * @param options.windows rungs of the ladder, measured in addition to the rounds, default 0.
 * @param options.vectors of the sketch that estimates the ladder, default 0 = probes.
 * @param options.isFirstSpared true where the first round is one of them.
 * @param options.sketchVectors of sketches that replace measurements where they are cheaper, default 0. */
export function countQuadraticForwards(options: {
  layers: number;
  kvHeads: number;
  callsPerSample: number;
  samples: number;
  rounds: number;
  windows?: number;
  vectors?: number;
  isFirstSpared?: boolean;
  sketchVectors?: number;
}): number {
  const { samples, rounds, windows = 0, isFirstSpared = false } = options;
  const measured = Array.from({ length: rounds }, (_, round) =>
    round === 0 && isFirstSpared
      ? 0
      : round === 0
        ? countRoundForwards({ ...options, isFirst: true })
        : countMeasureForwards({ ...options, isFirst: false }),
  );
  const ladder = countLadderForwards({ ...options, windows });
  const tried = rounds === 1 ? 0 : rounds;
  const inRounds = measured.reduce((sum, count) => sum + count, 0) + tried;
  return samples * (1 + NOISE_FORWARDS + ladder + inRounds + countEliminationForwards(options));
}

/** Forward passes of a gate optimisation of `steps` steps. */
export function countOptimizerForwards(steps: number): number {
  return FORWARDS_PER_STEP * steps;
}
