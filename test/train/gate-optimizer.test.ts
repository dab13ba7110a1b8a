import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { GateGrid } from '../../src/core/shapes.ts';
import { EngineError } from '../../src/errors/errors.ts';
import { GateOptimizer } from '../../train/gate-optimizer.ts';
import { computeLearningRate } from '../../train/schedule.ts';

interface GoldenStep {
  step: number;
  lr: number;
  distill: number;
  grad: GateGrid;
  alpha: GateGrid;
}
const golden = JSON.parse(readFileSync('test/golden/mha-2l/ident.json', 'utf8')) as {
  reg: number;
  lr: number;
  steps: number;
  trajectory: GoldenStep[];
};

/** The golden gradient holds the penalty's part; the optimizer adds its own. */
function removePenalty(grad: GateGrid, before: GateGrid): GateGrid {
  const size = before.flat().length;
  return grad.map((row, layer) =>
    row.map((value, head) => value - (golden.reg / size) * Math.sign(before[layer]?.[head] as number)),
  );
}

describe('golden run of 60 steps in float64', () => {
  test('its gradients give its gates after every step', () => {
    const optimizer = new GateOptimizer({ layers: 2, kvHeads: 4, lambda: golden.reg });
    let before: GateGrid = optimizer.gates();
    let worst = 0;
    for (const { step, grad, alpha, lr } of golden.trajectory) {
      const ownLr = computeLearningRate({ step: step - 1, steps: golden.steps, lr: golden.lr });
      expect(ownLr).toBeCloseTo(lr, 14);
      optimizer.apply({ gradient: removePenalty(grad, before), lr: ownLr });
      optimizer.gates().forEach((row, layer) => {
        row.forEach((gate, head) => {
          worst = Math.max(worst, Math.abs(gate - (alpha[layer]?.[head] as number)));
        });
      });
      before = alpha;
    }
    optimizer.dispose();
    // float32 against float64; measured 6.9e-6, most of it 1 − β2 in float32. The promise is 0.01.
    expect(golden.trajectory).toHaveLength(60);
    expect(worst).toBeLessThan(1e-5);
  });
});

describe('Adam', () => {
  test('equals the formula with epsilon outside the root, to 2e-7 per step', () => {
    const [layers, kvHeads, lambda, lr] = [1, 5, 0.1, 0.01];
    const optimizer = new GateOptimizer({ layers, kvHeads, lambda });
    const alpha = [1, 1, 1, 1, 1];
    const m = [0, 0, 0, 0, 0];
    const v = [0, 0, 0, 0, 0];
    for (let step = 1; step <= 20; step++) {
      // Magnitudes from 1e-9, where epsilon decides, to 1.
      const gradient = alpha.map((_, head) => 10 ** (-9 + 2 * head) * Math.cos(step + head) - 1e-8);
      optimizer.apply({ gradient: [gradient], lr });
      gradient.forEach((value, head) => {
        const g = value + (lambda / 5) * Math.sign(alpha[head] as number);
        m[head] = 0.9 * (m[head] as number) + 0.1 * g;
        v[head] = 0.999 * (v[head] as number) + 0.001 * g * g;
        const step1 = (m[head] as number) / (1 - 0.9 ** step);
        const step2 = (v[head] as number) / (1 - 0.999 ** step);
        alpha[head] = Math.min(1, Math.max(0, (alpha[head] as number) - (lr * step1) / (Math.sqrt(step2) + 1e-8)));
      });
      optimizer.gates()[0]?.forEach((gate, head) => {
        // tfjs keeps the powers of β2 in float32, so 1 − β2 is 1.3e-5 off: 7e-8 per step of 0.01; and a gate near 1 rounds by 6e-8.
        expect(Math.abs(gate - (alpha[head] as number))).toBeLessThan(2e-7 * step);
      });
    }
    optimizer.dispose();
  });

  test('a first step is lr·g/(|g| + 1e-8): epsilon is neither the default nor inside the root', () => {
    const optimizer = new GateOptimizer({ layers: 1, kvHeads: 2, lambda: 0 });
    optimizer.apply({ gradient: [[1e-8, 1e-4]], lr: 0.5 });
    const [small, large] = optimizer.gates()[0] as [number, number];
    expect(small).toBeCloseTo(1 - 0.5 * 0.5, 3);
    expect(large).toBeCloseTo(1 - 0.5 * (1e-4 / (1e-4 + 1e-8)), 4);
    optimizer.dispose();
  });
});

describe('penalty', () => {
  const closedState = {
    steps: 0,
    gates: Float32Array.of(0, 0.5),
    firstMoment: new Float32Array(2),
    secondMoment: new Float32Array(2),
    betaPowers: Float32Array.of(0.9, 0.999),
  };

  test('is λ·mean|α|', () => {
    const optimizer = new GateOptimizer({ layers: 1, kvHeads: 2, lambda: 0.2, state: closedState });
    expect(optimizer.penalty()).toBeCloseTo(0.05, 7);
    optimizer.dispose();
  });

  test('has derivative 0 at 0: a closed gate with no gradient has no moments and stays', () => {
    const optimizer = new GateOptimizer({ layers: 1, kvHeads: 2, lambda: 0.2, state: closedState });
    optimizer.apply({ gradient: [[0, 0]], lr: 0.02 });
    const { firstMoment } = optimizer.exportState();
    expect(firstMoment[0]).toBe(0);
    expect(firstMoment[1]).toBeCloseTo(0.1 * 0.1, 7);
    expect(optimizer.gates()[0]?.[0]).toBe(0);
    optimizer.dispose();
  });

  test('a closed gate reopens as soon as the loss asks for it, however little', () => {
    const optimizer = new GateOptimizer({ layers: 1, kvHeads: 2, lambda: 0.2, state: closedState });
    // Smaller than λ/(L·G) = 0.1: with derivative ±0.1 at 0 the gate could not move.
    optimizer.apply({ gradient: [[-0.01, 0]], lr: 0.02 });
    expect(optimizer.gates()[0]?.[0]).toBeCloseTo(0.02, 6);
    optimizer.dispose();
  });
});

describe('gates', () => {
  test('start at 1 and never leave [0,1]', () => {
    const optimizer = new GateOptimizer({ layers: 2, kvHeads: 2, lambda: 0 });
    expect(optimizer.gates().flat()).toEqual([1, 1, 1, 1]);
    for (let step = 0; step < 20; step++) {
      optimizer.apply({
        gradient: [
          [-5, 5],
          [1e30, -1e30],
        ],
        lr: 0.3,
      });
      for (const gate of optimizer.gates().flat()) {
        expect(gate).toBeGreaterThanOrEqual(0);
        expect(gate).toBeLessThanOrEqual(1);
      }
    }
    expect(optimizer.gates().flat().slice(0, 2)).toEqual([1, 0]);
    optimizer.dispose();
  });

  test.each([
    [[[1, 2]], /Expected a gate gradient of 2 × 2, got 1 rows of 2/],
    [[[1, 2], [3]], /Expected a gate gradient of 2 × 2, got 2 rows of 2, 1/],
    [
      [
        [1, 2],
        [3, Number.NaN],
      ],
      /Expected a finite gate gradient, got `NaN` at layer 1, KV head 1/,
    ],
    [
      [
        [1, Number.NEGATIVE_INFINITY],
        [3, 4],
      ],
      /got `-Infinity` at layer 0, KV head 1/,
    ],
  ])('refuse gradient %j', (gradient, message) => {
    const optimizer = new GateOptimizer({ layers: 2, kvHeads: 2, lambda: 0.1 });
    const apply = () => optimizer.apply({ gradient, lr: 0.1 });
    expect(apply).toThrow(EngineError);
    expect(apply).toThrow(message);
    expect(optimizer.gates().flat()).toEqual([1, 1, 1, 1]);
    optimizer.dispose();
  });
});

describe('state', () => {
  const gradientAt = (step: number): GateGrid => [[Math.sin(step), Math.cos(step) / 3, -0.01]];

  test('exported and restored at any step, continues bit for bit', () => {
    const whole = new GateOptimizer({ layers: 1, kvHeads: 3, lambda: 0.05 });
    let parts = new GateOptimizer({ layers: 1, kvHeads: 3, lambda: 0.05 });
    for (let step = 0; step < 100; step++) {
      whole.apply({ gradient: gradientAt(step), lr: 0.02 });
      const state = parts.exportState();
      parts.dispose();
      parts = new GateOptimizer({ layers: 1, kvHeads: 3, lambda: 0.05, state });
      parts.apply({ gradient: gradientAt(step), lr: 0.02 });
      expect(parts.exportState()).toEqual(whole.exportState());
    }
    expect(whole.exportState().steps).toBe(100);
    whole.dispose();
    parts.dispose();
  });

  test('of another size is refused', () => {
    const small = new GateOptimizer({ layers: 1, kvHeads: 3, lambda: 0 });
    const state = small.exportState();
    small.dispose();
    expect(() => new GateOptimizer({ layers: 2, kvHeads: 3, lambda: 0, state })).toThrow(/2 × 3 gates, got `3` values/);
  });
});

describe('tfjs', () => {
  test('steps leak no tensors, and dispose frees all', () => {
    const before = tf.memory().numTensors;
    const optimizer = new GateOptimizer({ layers: 2, kvHeads: 2, lambda: 0.1 });
    const held = tf.memory().numTensors;
    for (let step = 0; step < 5; step++) {
      optimizer.apply({
        gradient: [
          [1, 2],
          [3, 4],
        ],
        lr: 0.1,
      });
      optimizer.penalty();
      optimizer.exportState();
    }
    expect(tf.memory().numTensors).toBe(held);
    optimizer.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test("gives the engine's backend back, and its numbers do not depend on it", async () => {
    await import('@tensorflow/tfjs-backend-wasm');
    const run = (): Float32Array => {
      const optimizer = new GateOptimizer({ layers: 1, kvHeads: 3, lambda: 0.05 });
      for (let step = 0; step < 30; step++)
        optimizer.apply({ gradient: [[Math.sin(step), -0.1, 0.3 / (step + 1)]], lr: 0.02 });
      const { gates } = optimizer.exportState();
      optimizer.dispose();
      return gates;
    };
    await tf.setBackend('cpu');
    const onCpu = run();
    await tf.setBackend('wasm');
    const onWasm = run();
    expect(tf.getBackend()).toBe('wasm');
    expect(onWasm).toEqual(onCpu);
    expect(tf.tidy(() => tf.add(tf.scalar(1), 2).dataSync()[0])).toBe(3);
  });
});
