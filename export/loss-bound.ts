// A loss that no choice of windows within a budget falls below. Let z be 0/1 with at most one option per head. Its loss zᵀMz equals
// tΣ M_oo z_o + zᵀ(M − tB)z for any t, where B holds M's blocks of options of one head: two of them are never chosen together. With t so small
// that M − tB has no negative eigenvalue the right side is convex; its minimum over fractional z within the budget is the bound.
// Frank–Wolfe steps approach that value, and each gives a lower bound of it (its duality gap), of which the largest is returned.
// The smallest eigenvalue comes from Lanczos steps less their residual: an estimate, close in practice, not a proof.

import { findLeastCorner } from './least-corner.ts';
import { findSmallestEigenvalue } from './smallest-eigenvalue.ts';
import type { ChoiceProblem } from './window-choice.ts';

const LANCZOS_STEPS = 60;
const DESCENT_STEPS = 100;
/** Stop where the bound is this near to the relaxation's value. */
const ENOUGH = 1e-4;
/** Added to the diagonal of B, as shares of the entry and of the largest one, so that its factors are stable. */
const RIDGE = 1e-4;
const FLOOR = 1e-6;

/** @param budget entries that a choice may keep at most; the narrowest windows must fit.  @param start a choice, where the descent begins.
 * @returns the bound, in units of the loss; `spread` is t, the part of the loss that is bounded head by head. */
export function boundLoss(
  problem: ChoiceProblem,
  { budget, start }: { budget: number; start: ArrayLike<number> },
): { bound: number; spread: number } {
  const convex = splitConvex(problem);
  const size = convex.linear.length;
  const point = new Float64Array(size);
  for (let head = 0; head < problem.heads; head++) {
    const rung = start[head] as number;
    if (rung < problem.rungs) point[head * problem.rungs + rung] = 1;
  }
  const image = multiply(convex.quadratic, point);
  const gradient = new Float64Array(size);
  let bound = Number.NEGATIVE_INFINITY;
  for (let step = 0; step < DESCENT_STEPS; step++) {
    for (let option = 0; option < size; option++) {
      gradient[option] = (convex.linear[option] as number) + 2 * (image[option] as number);
    }
    const corner = findLeastCorner(problem, { prices: gradient, budget });
    const cornerImage = multiply(convex.quadratic, corner);
    const [value, gap] = [dot(convex.linear, point) + dot(image, point), dot(gradient, point) - dot(gradient, corner)];
    bound = Math.max(bound, value - gap);
    if (gap <= ENOUGH * Math.abs(value)) break;
    const curvature = dot(cornerImage, corner) - 2 * dot(cornerImage, point) + dot(image, point);
    const length = curvature > 0 ? Math.min(1, gap / (2 * curvature)) : 1;
    for (let option = 0; option < size; option++) {
      (point[option] as number) += length * ((corner[option] as number) - (point[option] as number));
      (image[option] as number) += length * ((cornerImage[option] as number) - (image[option] as number));
    }
  }
  return { bound, spread: convex.spread };
}

/** M as a part that is linear in 0/1 choices and a convex rest. */
function splitConvex(problem: ChoiceProblem): { linear: Float64Array; quadratic: Float64Array; spread: number } {
  const { heads, rungs, matrix } = problem;
  const size = heads * rungs;
  const blocks = makeBlocks(problem);
  const spread = findSpread(problem, blocks.map(factorise));
  const linear = new Float64Array(size);
  const quadratic = Float64Array.from(matrix);
  for (const [head, block] of blocks.entries()) {
    for (let row = 0; row < rungs; row++) {
      const option = head * rungs + row;
      linear[option] = spread * (block[row * rungs + row] as number);
      for (let column = 0; column < rungs; column++) {
        (quadratic[option * size + head * rungs + column] as number) -=
          spread * (block[row * rungs + column] as number);
      }
    }
  }
  return { linear, quadratic, spread };
}

/** B, a positive definite block per head: M's own with a ridge, or its diagonal where rounding left it indefinite. Any such B is valid. */
function makeBlocks({ heads, rungs, matrix }: ChoiceProblem): Float64Array[] {
  const size = heads * rungs;
  let largest = 0;
  for (let option = 0; option < size; option++) largest = Math.max(largest, matrix[option * size + option] as number);
  const floor = FLOOR * largest || 1;
  return Array.from({ length: heads }, (_, head) => {
    const block = new Float64Array(rungs * rungs);
    for (let row = 0; row < rungs; row++) {
      const option = head * rungs + row;
      for (let column = 0; column < rungs; column++) {
        block[row * rungs + column] = matrix[option * size + head * rungs + column] as number;
      }
      const own = Math.max(0, matrix[option * size + option] as number);
      block[row * rungs + row] = own * (1 + RIDGE) + floor;
    }
    if (factorise(block).every(Number.isFinite)) return block;
    return block.map((value, index) => (index % (rungs + 1) === 0 ? value : 0));
  });
}

/** Lower Cholesky factor of a block, row by row; NaN where it is not positive definite. */
function factorise(block: Float64Array): Float64Array {
  const size = Math.sqrt(block.length);
  const factor = new Float64Array(block.length);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column <= row; column++) {
      let rest = block[row * size + column] as number;
      for (let inner = 0; inner < column; inner++) {
        rest -= (factor[row * size + inner] as number) * (factor[column * size + inner] as number);
      }
      factor[row * size + column] =
        row === column ? Math.sqrt(rest) : rest / (factor[column * size + column] as number);
    }
  }
  return factor;
}

/** t: the smallest eigenvalue of M relative to B, less its residual. */
function findSpread({ heads, rungs, matrix }: ChoiceProblem, factors: readonly Float64Array[]): number {
  const size = heads * rungs;
  const apply = (vector: Float64Array, out: Float64Array): void => {
    const scaled = Float64Array.from(vector);
    for (const [head, factor] of factors.entries()) solveTransposed(factor, scaled, head * rungs);
    out.set(multiply(matrix, scaled));
    for (const [head, factor] of factors.entries()) solve(factor, out, head * rungs);
  };
  const { value, residual } = findSmallestEigenvalue(apply, { size, steps: LANCZOS_STEPS });
  return value - residual;
}

/** Solve L x = b in place, b at `offset`. */
function solve(factor: Float64Array, vector: Float64Array, offset: number): void {
  const size = Math.sqrt(factor.length);
  for (let row = 0; row < size; row++) {
    let rest = vector[offset + row] as number;
    for (let column = 0; column < row; column++) {
      rest -= (factor[row * size + column] as number) * (vector[offset + column] as number);
    }
    vector[offset + row] = rest / (factor[row * size + row] as number);
  }
}

/** Solve Lᵀ x = b in place, b at `offset`. */
function solveTransposed(factor: Float64Array, vector: Float64Array, offset: number): void {
  const size = Math.sqrt(factor.length);
  for (let row = size - 1; row >= 0; row--) {
    let rest = vector[offset + row] as number;
    for (let below = row + 1; below < size; below++) {
      rest -= (factor[below * size + row] as number) * (vector[offset + below] as number);
    }
    vector[offset + row] = rest / (factor[row * size + row] as number);
  }
}

/** Symmetric matrix times a vector; rows of zeros in the vector cost nothing. */
function multiply(matrix: Float64Array, vector: Float64Array): Float64Array {
  const size = vector.length;
  const product = new Float64Array(size);
  for (let row = 0; row < size; row++) {
    const factor = vector[row] as number;
    if (factor === 0) continue;
    for (let column = 0; column < size; column++) {
      (product[column] as number) += factor * (matrix[row * size + column] as number);
    }
  }
  return product;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += (a[index] as number) * (b[index] as number);
  return sum;
}
