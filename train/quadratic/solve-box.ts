// Minimises bᵀQb + cᵀb over the box 0 ≤ b ≤ 1 by cyclic coordinate descent: exact in each coordinate, the same bytes every time.
// Q is a Gram matrix, so the problem is convex and a point that no single coordinate improves is a minimum.

/** Largest projected slope left, as a share of the problem's own slopes; far below what six stored decimals show. */
const TOLERANCE = 1e-10;
/** Ill-conditioned pairs of heads need thousands of sweeps; each costs at most N² operations, and few coordinates still move by then. */
const MAX_SWEEPS = 50_000;

export interface BoxProblem {
  /** Q, `[N, N]` fp64, symmetric, positive semidefinite; read */
  readonly matrix: Float64Array;
  /** c, `[N]` fp64; read */
  readonly linear: Float64Array;
  /** `[N]`, 0..1, where to start; default 0. Only where several points are equally good does the answer depend on it. */
  readonly start?: Float64Array | undefined;
}

export interface BoxSolution {
  /** b, `[N]`, 0..1 */
  readonly point: Float64Array;
  /** largest |slope| that a coordinate could still follow inside the box, as a share of max(|c|, diagonal of Q) */
  readonly residual: number;
  readonly sweeps: number;
}

/** Solve to a residual of 1e-10, or to 50,000 sweeps. Time at most O(N²) per sweep, memory O(N) in addition to the problem. */
export function solveBox(problem: BoxProblem): BoxSolution {
  const { matrix, linear } = problem;
  const size = linear.length;
  const point = problem.start ? Float64Array.from(problem.start) : new Float64Array(size);
  let scale = Number.MIN_VALUE;
  for (let row = 0; row < size; row++) {
    scale = Math.max(scale, Math.abs(linear[row]!), matrix[row * size + row]!);
  }
  let slopes = computeSlopes(problem, point);
  let sweeps = 0;
  for (; sweeps < MAX_SWEEPS; sweeps++) {
    if (findResidual(point, slopes) <= TOLERANCE * scale) {
      // The slopes were kept up to date by additions; what they lost to rounding is looked at once before the end.
      slopes = computeSlopes(problem, point);
      if (findResidual(point, slopes) <= TOLERANCE * scale) break;
    }
    for (let row = 0; row < size; row++) {
      const before = point[row]!;
      const after = moveCoordinate(before, slopes[row]!, 2 * matrix[row * size + row]!);
      if (after === before) continue;
      point[row] = after;
      const change = 2 * (after - before);
      for (let column = 0; column < size; column++) slopes[column]! += change * matrix[row * size + column]!;
    }
  }
  return { point, residual: findResidual(point, slopes) / scale, sweeps };
}

/** The best value of one coordinate. @param slope d/db.  @param curvature d²/db², ≥ 0. */
function moveCoordinate(value: number, slope: number, curvature: number): number {
  if (slope === 0) return value;
  if (!(curvature > 0)) return slope < 0 ? 1 : 0;
  return Math.min(1, Math.max(0, value - slope / curvature));
}

/** 2Qb + c */
function computeSlopes({ matrix, linear }: BoxProblem, point: Float64Array): Float64Array {
  const size = linear.length;
  const slopes = Float64Array.from(linear);
  for (let row = 0; row < size; row++) {
    let sum = 0;
    for (let column = 0; column < size; column++) sum += matrix[row * size + column]! * point[column]!;
    slopes[row]! += 2 * sum;
  }
  return slopes;
}

function findResidual(point: Float64Array, slopes: Float64Array): number {
  let worst = 0;
  for (let index = 0; index < point.length; index++) {
    const slope = slopes[index]!;
    const isBlocked = slope > 0 ? point[index] === 0 : point[index] === 1;
    if (!isBlocked) worst = Math.max(worst, Math.abs(slope));
  }
  return worst;
}
