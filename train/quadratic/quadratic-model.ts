// The distillation loss as a quadratic of how far each head is closed, b = 1 − gate, around the gates it was measured at:
// loss(b) ≈ loss + 2·slopeᵀ(b − center) + (b − center)ᵀ·gram·(b − center). From it the gates of any λ, hence of any sparsity.
import type { GateGrid } from '../../src/core/shapes.ts';
import type { LambdaPath } from '../../src/formats/gates.ts';
import { solveBox } from './solve-box.ts';

/** Points of a path in addition to the requested λ: at least ten per decade over the range between the first and the last head to close. */
const PATH_POINTS = 96;
/** The path begins where the first head has closed by so much. */
const FIRST_CLOSURE = 0.01;
/** Heads that matter less than this share of the most important one count as not mattering; else they alone would set the path's start. */
const MIN_WEIGHT = 1e-9;
/** Stored gates; a path of 256 heads stays under 200 KB. */
const PATH_DECIMALS = 5;

export interface QuadraticModel {
  /** b at which it was measured, `[N]`, N = layers·kvHeads */
  readonly center: Float64Array;
  /** true loss there */
  readonly loss: number;
  /** ⟨residual, Dᵢ⟩, half the slope of the loss, `[N]` */
  readonly slope: Float64Array;
  /** ⟨Dᵢ, Dⱼ⟩, `[N, N]` */
  readonly gram: Float64Array;
}

/** The quadratic that measured inner products make. @param means `[N+1, N+1]`, as `measureSample` gives them.  @param gates `[N]` they were measured at. */
export function readModel(means: Float64Array, gates: Float64Array): QuadraticModel {
  const size = gates.length;
  const gram = new Float64Array(size * size);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      gram[row * size + column] = means[row * (size + 1) + column] as number;
    }
  }
  const last = means.subarray(size * (size + 1));
  return { center: gates.map((gate) => 1 - gate), loss: last[size] as number, slope: last.slice(0, size), gram };
}

/** Gates of one λ: argmin over b in [0,1] of loss(b) + λ·mean(1 − b), as 1 − b.
 * @param lambda > 0.  @param start b to start from, for a quicker answer.  @returns `[N]`, 0..1. */
export function solveGates(model: QuadraticModel, lambda: number, start?: Float64Array): Float64Array {
  const size = model.center.length;
  const linear = linearTerm(model).map((value) => value - lambda / size);
  return solveBox({ matrix: model.gram, linear, start }).point.map((closed) => 1 - closed);
}

/** Gates at λ after λ, from where the first head begins to close to where all are closed, geometrically spaced.
 * @param options.lambda the run's own λ, which is one of the points.  @param options.kvHeads columns of the grids.
 * @returns λ ascending; gates rounded to five decimals. Same model, same bytes. */
export function solvePath(model: QuadraticModel, options: { lambda: number; kvHeads: number }): LambdaPath {
  const { first, last } = findRange(model, options.lambda);
  const lambdas = Array.from({ length: PATH_POINTS }, (_, index) =>
    roundDigits(first * (last / first) ** (index / (PATH_POINTS - 1))),
  );
  const all = [...new Set([...lambdas, options.lambda])].sort((a, b) => a - b);
  let closed: Float64Array | undefined;
  const gates = all.map((lambda) => {
    const flat = solveGates(model, lambda, closed);
    closed = flat.map((gate) => 1 - gate);
    return toGrid(flat, options.kvHeads, PATH_DECIMALS);
  });
  return { lambdas: all, gates };
}

/** `[N]` as `[N / kvHeads][kvHeads]`, rounded where `decimals` is given. */
export function toGrid(flat: Float64Array, kvHeads: number, decimals?: number): GateGrid {
  const round = (value: number): number => (decimals === undefined ? value : Number(value.toFixed(decimals)));
  return Array.from({ length: flat.length / kvHeads }, (_, layer) =>
    Array.from(flat.subarray(layer * kvHeads, (layer + 1) * kvHeads), round),
  );
}

/** c of bᵀQb + cᵀb without the penalty: 2·(slope − Q·center). */
function linearTerm({ center, slope, gram }: QuadraticModel): Float64Array {
  const size = center.length;
  return slope.map((value, row) => {
    let sum = value;
    for (let column = 0; column < size; column++) sum -= gram[row * size + column]! * center[column]!;
    return 2 * sum;
  });
}

/** λ at which the first head has closed by FIRST_CLOSURE if it were alone, and λ at which all heads are closed. */
function findRange(model: QuadraticModel, lambda: number): { first: number; last: number } {
  const { gram } = model;
  const size = model.center.length;
  const linear = linearTerm(model);
  let heaviest = 0;
  let steepest = 0;
  for (let row = 0; row < size; row++) {
    let slope = linear[row]!;
    for (let column = 0; column < size; column++) slope += 2 * gram[row * size + column]!;
    steepest = Math.max(steepest, slope);
    heaviest = Math.max(heaviest, gram[row * size + row]!);
  }
  let lightest = heaviest;
  for (let row = 0; row < size; row++) {
    const weight = gram[row * size + row]!;
    if (weight > MIN_WEIGHT * heaviest) lightest = Math.min(lightest, weight);
  }
  // A model whose heads all see the whole sample has no weights at all; then every λ closes everything.
  if (heaviest === 0) return { first: lambda / 10, last: lambda };
  const first = Math.min(lambda, 2 * FIRST_CLOSURE * size * lightest);
  return { first, last: Math.max(lambda, size * steepest, 2 * first) };
}

/** Six significant digits, so that λ reads well in the file. */
function roundDigits(value: number): number {
  return Number(value.toPrecision(6));
}
