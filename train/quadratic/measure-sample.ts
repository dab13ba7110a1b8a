// One sample's share of the quadratic: Dᵢ = how the final hidden states move as head i closes, its inner products, and those with
// the residual h(all full) − h(gates). Forward passes only; heads are probed in blocks as memory allows.
import { totalmem } from 'node:os';
import type { GateGrid, Sample, Supervise, Window } from '../../src/core/shapes.ts';
import { supervisedPositions } from '../../src/core/shapes.ts';
import type { Distance, Engine } from '../../src/engine/engine.ts';
import { ConfigError } from '../../src/errors/errors.ts';
import { DifferenceBlocks } from './difference-blocks.ts';
import { multiplyBlocks } from './multiply-blocks.ts';
import { computeFull, openMetric, type SampleMetric } from './sample-metric.ts';

/** How far a head's gate moves while it is probed: all the way to the other side, or by a little. */
export type ProbeStep = 'finite' | 'tangent';

/** Small against the curvature over a gate's range, large against fp32 rounding of hidden states near 1; a power of two keeps 1 − ε exact. */
const TANGENT_STEP = 1 / 32;
/** Differences of a sample that are kept in memory: 256 heads of 640 positions of 4096 channels take 2.7 GB. Less on a small machine. */
const MEMORY_BYTES = Math.min(4 * 2 ** 30, totalmem() / 8);
/** Differences of the heads of one engine call. Each call runs the base pass once more; one file holds at most 2 GB. The bytes of the products
 * do not depend on it. */
const BLOCK_BYTES = Math.min(2 ** 30, MEMORY_BYTES / 2);

/** How many heads' differences there are, and the values of each. */
interface DifferenceSize {
  readonly numHeads: number;
  /** supervised positions times C */
  readonly length: number;
}

/** Engine calls that the heads of one sample are split into. */
export function countBlocks({ numHeads, length }: DifferenceSize, blockBytes = BLOCK_BYTES): number {
  return Math.ceil(numHeads / countHeadsPerBlock(length, blockBytes));
}

/** Bytes of differences that are held in memory at once. */
export function countHeldBytes(size: DifferenceSize): number {
  const rowBytes = Float32Array.BYTES_PER_ELEMENT * size.length;
  const all = rowBytes * (size.numHeads + 1);
  return all > MEMORY_BYTES ? 2 * rowBytes * countHeadsPerBlock(size.length, BLOCK_BYTES) : all;
}

/** How measured differences are laid into blocks. @param limits for tests. */
export function planBlocks(
  { hiddenLength, length }: Pick<SampleMetric, 'hiddenLength' | 'length'>,
  limits: MeasureOptions['limits'] = { blockBytes: BLOCK_BYTES, memoryBytes: MEMORY_BYTES },
): { rowBytes: number; headsPerBlock: number; memoryBytes: number } {
  const rowBytes = Float32Array.BYTES_PER_ELEMENT * length;
  const headsPerBlock = countHeadsPerBlock(Math.max(hiddenLength, length), limits.blockBytes);
  return { rowBytes, headsPerBlock, memoryBytes: limits.memoryBytes };
}

function countHeadsPerBlock(length: number, blockBytes: number): number {
  return Math.max(1, Math.floor(blockBytes / (Float32Array.BYTES_PER_ELEMENT * length)));
}

/** An engine that can probe. */
export type ProbingEngine = Engine & Required<Pick<Engine, 'computeHidden' | 'probe'>>;

export interface MeasureOptions {
  readonly engine: ProbingEngine;
  readonly window: Window;
  readonly supervise: Supervise;
  /** default 'hidden' */
  readonly distance?: Distance | undefined;
  readonly step: ProbeStep;
  /** heads that are probed, ascending; default all. The rows of the others are 0 */
  readonly heads?: readonly number[] | undefined;
  /** h(all full) of the sample as `computeFull` gives it, where it is known already */
  readonly full?: Float32Array | undefined;
  /** h(every head streaming) as `computeStreaming` gives it, where it is known already; of a KL divergence */
  readonly streaming?: Float32Array | undefined;
  /** folder that may be made for blocks that memory does not hold; gone afterwards */
  readonly scratchFolder: string;
  /** bytes of differences probed at once, and kept in memory; for tests */
  readonly limits?: { readonly blockBytes: number; readonly memoryBytes: number } | undefined;
  readonly signal?: AbortSignal | undefined;
  /** fraction of the sample done, 0..1 */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** Whether method quadratic can run on it. */
export function canProbe(engine: Engine): engine is ProbingEngine {
  return engine.probe !== undefined && engine.computeHidden !== undefined;
}

/** The engine, where it can probe. @throws {ConfigError} it cannot. */
export function requireProbing(engine: Engine): ProbingEngine {
  if (canProbe(engine)) return engine;
  throw new ConfigError(`Expected an engine that can probe heads, got \`${engine.name}\`, which cannot.`);
}

/** Inner products of one sample around `gates`: mean over supervised positions and C, or of a KL divergence over positions.
 * @param gates `[layers][kvHeads]`, 0..1; the other end of a finite step is 0 for a gate of at least one half, else 1.
 * @returns `[N+1, N+1]` fp64, symmetric: row i of the first N is head i's D, per unit of closing; the last row is the residual.
 * @throws {FormatError} no supervised position; {AbortedError}; {EngineError}; {FileError}. */
export async function measureSample(sample: Sample, gates: GateGrid, options: MeasureOptions): Promise<Float64Array> {
  const { engine, window, supervise, signal } = options;
  const { layers, kvHeads } = engine.model;
  const numHeads = layers * kvHeads;
  const metric = await openMetric(sample, options);
  const { hiddenLength, length, scale } = metric;
  const { rowBytes, headsPerBlock, memoryBytes } = planBlocks(metric, options.limits);
  const heads = options.heads ?? Array.from({ length: numHeads }, (_, head) => head);
  const totalBytes = rowBytes * (heads.length + 1);
  const blocks = new DifferenceBlocks({ totalBytes, memoryBytes, folder: options.scratchFolder });
  try {
    const probed = new Set(heads);
    const probeGates = gates.map((row, layer) =>
      row.map((gate, head) => (probed.has(layer * kvHeads + head) ? findProbeGate(gate, options.step) : gate)),
    );
    for (const { begin, end, rows } of listRanges(heads, headsPerBlock)) {
      const onProgress = (fraction: number): void =>
        options.onProgress?.((begin + fraction * (end - begin)) / (numHeads + 1));
      const request = { gates, probeGates, window, begin, end };
      const found = await engine.probe(sample, request, { supervise, onProgress, ...(signal ? { signal } : {}) });
      const own = rows.length === end - begin ? found : pickRows(found, { rows, length: hiddenLength });
      blocks.append(await metric.measure(own));
    }
    blocks.append(await metric.measure(await computeResidual(sample, gates, options)));
    const gram = await multiplyBlocks(blocks, { engine, length, scale, size: heads.length + 1, signal });
    // The engine's differences are h(gates) − h(probed); a head that was opened instead of closed has a negative step.
    const steps = heads.map((index) => {
      const [layer, head] = [Math.floor(index / kvHeads), index % kvHeads];
      return Math.fround(gates[layer]![head]!) - Math.fround(probeGates[layer]![head]!);
    });
    scaleRows(gram, [...steps, 1]);
    options.onProgress?.(1);
    return heads.length === numHeads ? gram : spreadRows(gram, [...heads, numHeads]);
  } finally {
    blocks.close();
  }
}

/** Ranges of at most `most` heads that cover the probed ones, and which of their rows those are. */
function listRanges(heads: readonly number[], most: number): { begin: number; end: number; rows: number[] }[] {
  const ranges: { begin: number; end: number; rows: number[] }[] = [];
  for (const head of heads) {
    const last = ranges.at(-1);
    if (last && head - last.begin < most) {
      last.end = head + 1;
      last.rows.push(head - last.begin);
    } else ranges.push({ begin: head, end: head + 1, rows: [0] });
  }
  return ranges;
}

function pickRows(values: Float32Array, options: { rows: readonly number[]; length: number }): Float32Array {
  const { rows, length } = options;
  const picked = new Float32Array(rows.length * length);
  rows.forEach((row, index) => {
    picked.set(values.subarray(row * length, (row + 1) * length), index * length);
  });
  return picked;
}

/** The products of some rows at their places among all, 0 elsewhere. @param places ascending; the last is the last row of all. */
function spreadRows(gram: Float64Array, places: readonly number[]): Float64Array {
  const size = (places.at(-1) as number) + 1;
  const all = new Float64Array(size * size);
  for (const [row, toRow] of places.entries()) {
    for (const [column, toColumn] of places.entries()) {
      all[toRow * size + toColumn] = gram[row * places.length + column] as number;
    }
  }
  return all;
}

/** Distillation loss at `gates` by forward passes alone: mean over supervised positions and C of (h(all full) − h(gates))², or over positions of
 * the KL divergence to second order. */
export async function measureLoss(sample: Sample, gates: GateGrid, options: MeasureOptions): Promise<number> {
  const metric = await openMetric(sample, options);
  const residual = await metric.measure(await computeResidual(sample, gates, options));
  return residual.reduce((sum, value) => sum + value * value, 0) * metric.scale;
}

/** h(all full) − h(gates), `[positions, C]`; zeros without computing where every gate is 1. */
export async function computeResidual(sample: Sample, gates: GateGrid, options: MeasureOptions): Promise<Float32Array> {
  const { engine, window, supervise, signal } = options;
  if (isFull(gates)) {
    return new Float32Array(supervisedPositions(sample.answers, supervise).length * engine.model.hidden);
  }
  const full = options.full ?? (await computeFull(sample, options));
  const own = await engine.computeHidden(sample, gates, window, { supervise, ...(signal ? { signal } : {}) });
  return full.map((value, index) => value - (own[index] as number));
}

export function isFull(gates: GateGrid): boolean {
  return gates.every((row) => row.every((gate) => gate === 1));
}

/** How far a head moves that is open. */
export function findProbeStep(step: ProbeStep): number {
  return step === 'finite' ? 1 : TANGENT_STEP;
}

function findProbeGate(gate: number, step: ProbeStep): number {
  if (step === 'finite') return gate >= 0.5 ? 0 : 1;
  return gate >= TANGENT_STEP ? gate - TANGENT_STEP : gate + TANGENT_STEP;
}

/** Entry (i, j) divided by stepᵢ·stepⱼ. */
function scaleRows(gram: Float64Array, steps: readonly number[]): void {
  const size = steps.length;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      gram[row * size + column]! /= (steps[row] as number) * (steps[column] as number);
    }
  }
}
