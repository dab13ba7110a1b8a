// The smallest eigenvalue of a symmetric operator by Lanczos iteration with full reorthogonalisation, from a fixed start.

/** @param apply writes the operator's image of `vector` into `out`, both `[size]`.
 * @returns the smallest Ritz value and its residual: an eigenvalue lies within `residual` of `value`. */
export function findSmallestEigenvalue(
  apply: (vector: Float64Array, out: Float64Array) => void,
  { size, steps }: { size: number; steps: number },
): { value: number; residual: number } {
  const basis: Float64Array[] = [];
  const [alphas, betas]: [number[], number[]] = [[], []];
  // every coordinate and no symmetry, so that no eigenvector is orthogonal to it by design
  let vector = Float64Array.from({ length: size }, (_, index) => 1 + Math.sin(7 * index + 1));
  let norm = Math.sqrt(dot(vector, vector));
  for (let step = 0; step < Math.min(steps, size); step++) {
    const scale = norm;
    vector = vector.map((value) => value / scale);
    basis.push(vector);
    const image = new Float64Array(size);
    apply(vector, image);
    alphas.push(dot(image, vector));
    // twice: once leaves what rounding put back
    for (let round = 0; round < 2; round++) {
      for (const older of basis) subtract(image, older, dot(image, older));
    }
    norm = Math.sqrt(dot(image, image));
    betas.push(norm);
    if (norm <= 1e-12 * Math.max(1, ...alphas.map(Math.abs))) break;
    vector = image;
  }
  const value = findSmallestOfTridiagonal(alphas, betas);
  return { value, residual: (betas.at(-1) as number) * lastComponent(value, alphas, betas) };
}

/** By bisection on the number of negative pivots (Sturm). */
function findSmallestOfTridiagonal(alphas: readonly number[], betas: readonly number[]): number {
  const radius = (index: number): number =>
    Math.abs(betas[index - 1] ?? 0) + (index < alphas.length - 1 ? Math.abs(betas[index] as number) : 0);
  let low = Math.min(...alphas.map((alpha, index) => alpha - radius(index)));
  let high = Math.min(...alphas);
  const hasBelow = (bound: number): boolean => {
    let pivot = 1;
    for (let index = 0; index < alphas.length; index++) {
      const beta = index === 0 ? 0 : (betas[index - 1] as number);
      pivot = (alphas[index] as number) - bound - (beta * beta) / pivot;
      if (pivot < 0) return true;
      if (pivot === 0) pivot = Number.MIN_VALUE;
    }
    return false;
  };
  for (let round = 0; round < 100 && high > low; round++) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (hasBelow(middle)) high = middle;
    else low = middle;
  }
  return low;
}

/** Size of the last component of the unit eigenvector of the tridiagonal matrix, by its recurrence. */
function lastComponent(value: number, alphas: readonly number[], betas: readonly number[]): number {
  let [before, current, square] = [0, 1, 1];
  for (let index = 0; index + 1 < alphas.length; index++) {
    const beta = index === 0 ? 0 : (betas[index - 1] as number);
    const next = -(((alphas[index] as number) - value) * current + beta * before) / (betas[index] as number);
    [before, current] = [current, next];
    square += next * next;
    if (square > 1e200) {
      before /= 1e100;
      current /= 1e100;
      square /= 1e200;
    }
  }
  return Math.abs(current) / Math.sqrt(square);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += (a[index] as number) * (b[index] as number);
  return sum;
}

function subtract(from: Float64Array, vector: Float64Array, factor: number): void {
  for (let index = 0; index < from.length; index++) (from[index] as number) -= factor * (vector[index] as number);
}
