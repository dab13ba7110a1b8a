// The frozen quadratic of mha-2l by an independent float64 implementation: Q within 1e-4, the box solution within 1e-3, on both engines,
// and the engines against each other around gates inside the box.
import { afterAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { type MeasureOptions, measureSample, requireProbing } from '../../../train/quadratic/measure-sample.ts';
import { solveGates } from '../../../train/quadratic/quadratic-model.ts';
import { describeNative } from '../../reference/native-library.ts';
import {
  GOLDEN_MODEL,
  GOLDEN_SAMPLES,
  goldenBoxGates,
  goldenLambda,
  goldenMatrix,
  goldenSamples,
  goldenWindow,
} from './golden-run.ts';

const ENGINES = { tensorflow: openTensorflowEngine, native: openNativeEngine };
const folder = openModelFolder(GOLDEN_MODEL);
afterAll(() => folder.close());

const HEADS = 8;
const MIXED = [
  [0.75, 0.25, 0, 1],
  [0.5, 1, 0.9375, 0.125],
];
const FULL = [
  [1, 1, 1, 1],
  [1, 1, 1, 1],
];

function optionsOf(engine: Engine, step: 'finite' | 'tangent' = 'finite'): MeasureOptions {
  const probing = requireProbing(engine);
  return { engine: probing, window: goldenWindow, supervise: 'predict', step, scratchFolder: '/nowhere' };
}

for (const name of ['tensorflow', 'native'] as const) {
  (name === 'native' ? describeNative : describe)(`golden quadratic, ${name}`, () => {
    it('Q within 1e-4 and the box solution within 1e-3', async () => {
      const engine = await ENGINES[name](folder);
      const gram = new Float64Array(HEADS * HEADS);
      for (const sample of goldenSamples.slice(0, GOLDEN_SAMPLES)) {
        const measured = await measureSample(sample, FULL, optionsOf(engine));
        gram.forEach((_, index) => {
          const [row, column] = [Math.floor(index / HEADS), index % HEADS];
          gram[index]! += measured[row * (HEADS + 1) + column]! / GOLDEN_SAMPLES;
        });
      }
      await engine.close();
      const worst = Math.max(...goldenMatrix.flat().map((value, index) => Math.abs(value - gram[index]!)));
      const model = { center: new Float64Array(HEADS), loss: 0, slope: new Float64Array(HEADS), gram };
      const gates = solveGates(model, goldenLambda);
      const worstGate = Math.max(...goldenBoxGates.map((gate, head) => Math.abs(gate - gates[head]!)));
      console.log(
        `${name}: worst Q ${worst.toExponential(1)} of 1e-4, worst gate ${worstGate.toExponential(1)} of 1e-3`,
      );
      expect(worst).toBeLessThan(1e-4);
      expect(worstGate).toBeLessThan(1e-3);
    });
  });
}

describeNative('both engines', () => {
  it.each(['finite', 'tangent'] as const)('agree around gates inside the box, %s step', async (step) => {
    const grams: Float64Array[] = [];
    for (const open of Object.values(ENGINES)) {
      const engine = await open(folder);
      grams.push(await measureSample(goldenSamples[0]!, MIXED, optionsOf(engine, step)));
      await engine.close();
    }
    const [a, b] = grams as [Float64Array, Float64Array];
    const scale = Math.max(...b.map(Math.abs));
    const worst = Math.max(...a.map((value, index) => Math.abs(value - b[index]!))) / scale;
    expect(worst).toBeLessThan(1e-4);
  });

  it('give the loss of their own distillation as the square of the residual, and half its slope as the products with it', async () => {
    const engine = await openNativeEngine(folder);
    const gram = await measureSample(goldenSamples[1]!, MIXED, optionsOf(engine, 'tangent'));
    const { loss, gradient } = await engine.distill(goldenSamples[1]!, MIXED, goldenWindow);
    await engine.close();
    expect(gram.at(-1)).toBeCloseTo(loss, 5);
    const largest = Math.max(...gradient.flat().map(Math.abs));
    gradient.flat().forEach((slope, head) => {
      // Closing is the opposite of opening; the tangent's ε and the curvature over it leave a few percent.
      const measured = -2 * gram[HEADS * (HEADS + 1) + head]!;
      expect(Math.abs(measured - slope)).toBeLessThan(0.05 * largest);
    });
  });
});
