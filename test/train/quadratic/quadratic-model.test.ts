// Laws of the λ path: mean gate falls, gates move continuously, the asked λ is on it, ends are all open and all closed.
import { describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { type QuadraticModel, solveGates, solvePath } from '../../../train/quadratic/quadratic-model.ts';
import { predictLoss } from './predict-loss.ts';

/** N heads of very different weight, with couplings; measured at `center`. */
function drawModel(seed: number, size: number, center = 0): QuadraticModel {
  const random = makeRandom(seed, 'model');
  const columns = 4 * size;
  const rows = Array.from({ length: size }, () => {
    const weight = 10 ** (-3 * random.uniform());
    return Array.from({ length: columns }, () => weight * (random.uniform() * 2 - 0.8));
  });
  const dot = (a: number[], b: number[]): number => a.reduce((sum, value, index) => sum + value * b[index]!, 0);
  const residual = Array.from({ length: columns }, (_, column) =>
    rows.reduce((sum, row) => sum + center * row[column]!, 0),
  );
  return {
    center: new Float64Array(size).fill(center),
    loss: dot(residual, residual),
    slope: Float64Array.from(rows, (row) => dot(row, residual)),
    gram: Float64Array.from(rows.flatMap((a) => rows.map((b) => dot(a, b)))),
  };
}

const meanOf = (grid: number[][]): number => grid.flat().reduce((sum, gate) => sum + gate, 0) / grid.flat().length;

describe.each([1, 2, 3])('the path (seed %i)', (seed) => {
  const model = drawModel(seed, 12);
  const path = solvePath(model, { lambda: 0.2, kvHeads: 4 });

  it('ascends, holds the asked λ, and begins open and ends closed', () => {
    expect(path.lambdas).toContain(0.2);
    expect(path.lambdas.every((lambda, index) => index === 0 || lambda > path.lambdas[index - 1]!)).toBe(true);
    expect(path.gates).toHaveLength(path.lambdas.length);
    expect(path.gates[0]).toHaveLength(3);
    expect(Math.min(...path.gates[0]!.flat())).toBeGreaterThan(0.9);
    expect(Math.max(...path.gates.at(-1)!.flat())).toBeLessThan(1e-4);
  });

  it('never opens more as λ grows, on the mean', () => {
    const means = path.gates.map(meanOf);
    for (const [index, value] of means.entries()) {
      if (index > 0) expect(value).toBeLessThanOrEqual(means[index - 1]! + 1e-5);
    }
  });

  it('is continuous: small steps of λ move gates little', () => {
    for (const lambda of [0.01, 0.2, 1]) {
      const here = solveGates(model, lambda);
      const there = solveGates(model, lambda * 1.0001);
      here.forEach((gate, head) => {
        expect(Math.abs(gate - there[head]!)).toBeLessThan(1e-3);
      });
    }
  });

  it('is the same from a warm start as solved alone', () => {
    for (const index of [10, 50, 90]) {
      const alone = solveGates(model, path.lambdas[index]!);
      path.gates[index]!.flat().forEach((gate, head) => {
        expect(gate).toBeCloseTo(alone[head]!, 4);
      });
    }
  });
});

it('a model measured elsewhere on the same quadratic has the same solution and predicts the same loss', () => {
  const [full, moved] = [drawModel(5, 8), drawModel(5, 8, 0.25)];
  const gates = solveGates(full, 0.3);
  solveGates(moved, 0.3).forEach((gate, head) => {
    expect(gate).toBeCloseTo(gates[head]!, 6);
  });
  expect(predictLoss(moved, gates)).toBeCloseTo(predictLoss(full, gates), 10);
  expect(predictLoss(full, new Float64Array(8).fill(1))).toBeCloseTo(0, 12);
});

it('closes every head where none matters', () => {
  const model = { center: new Float64Array(4), loss: 0, slope: new Float64Array(4), gram: new Float64Array(16) };
  expect([...solveGates(model, 0.1)]).toEqual([0, 0, 0, 0]);
  expect(solvePath(model, { lambda: 0.1, kvHeads: 2 }).gates.at(-1)).toEqual([
    [0, 0],
    [0, 0],
  ]);
});
