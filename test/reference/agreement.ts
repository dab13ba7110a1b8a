// How well two tensors agree, max|a − b| / max|b|, held to a named tolerance; each use is remembered for the closing line.
import { expect } from 'vitest';

/** Largest disagreement allowed, with the reason. */
export const TOLERANCES = {
  /** fp32 engines against fp32 or fp64 values of an independent implementation; the bound that the project set itself */
  golden: 1e-4,
  /** the native engine in fp32 against fp64 values: six decimal digits of fp32 less one for sums over a layer's width */
  native: 1e-5,
  /** fp32 engines against the fp64 loops of test/reference: the same rounding, so the same bound */
  reference: 1e-4,
  /** central differences of an fp64 loss, step 1e-3, against the analytic gradient */
  finiteDifference: 1e-3,
} as const;

const used = new Map<string, number>();

/** max|a − b| / max|b|; NaN where either holds one. */
export function measureAgreement(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.NaN;
  let difference = 0;
  let size = 0;
  for (let index = 0; index < expected.length; index++) {
    difference = Math.max(difference, Math.abs(actual[index]! - expected[index]!));
    size = Math.max(size, Math.abs(expected[index]!));
  }
  return difference === 0 ? 0 : difference / size;
}

/** @param label what is compared, for the closing line; uses under one label share it. */
export function expectAgreement(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  options: { tolerance: keyof typeof TOLERANCES; label: string },
): void {
  expect(actual.length, `${options.label}: length`).toBe(expected.length);
  const measured = measureAgreement(actual, expected);
  const share = measured / TOLERANCES[options.tolerance];
  used.set(options.label, Math.max(used.get(options.label) ?? 0, share));
  expect(measured, options.label).toBeLessThanOrEqual(TOLERANCES[options.tolerance]);
}

/** One line: the largest share of its tolerance that each label used. Call in afterAll. */
export function printToleranceUse(): void {
  const parts = [...used].map(([label, share]) => `${label} ${(100 * share).toFixed(1)} %`);
  if (parts.length > 0) console.info(`tolerance used: ${parts.join(', ')}`);
  used.clear();
}
