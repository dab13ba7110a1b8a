// The gates as one TensorFlow.js variable: penalty with a gradient of our own, Adam over the sum of its gradient and the engine's, clamp.
// Always computed on tfjs's plain-JS `cpu` backend (a few hundred numbers), whatever backend computes the model, so the
// gates depend on no other backend's rounding. The distillation gradient is the engine's, the loop is optimize.ts's.
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import type { GateGrid } from '../src/core/shapes.ts';
import { EngineError } from '../src/errors/errors.ts';
import type { GateOptimizerState } from './gate-state.ts';

const BETA1 = 0.9;
const BETA2 = 0.999;
/** Passed explicitly: tfjs's default follows the backend (1e-7 on most). Added outside the square root, as in Adam's paper. */
const EPSILON = 1e-8;
/** Every gate starts as a full retrieval head. */
const INITIAL_GATE = 1;

/** The fields of tfjs's AdamOptimizer that its public `setWeights` does not restore bit for bit (it recomputes the powers of β). */
interface AdamFields {
  learningRate: number;
  iterations_: number;
  accBeta1: tf.Variable;
  accBeta2: tf.Variable;
  accumulatedFirstMoment: { originalName: string; variable: tf.Variable }[];
  accumulatedSecondMoment: { originalName: string; variable: tf.Variable }[];
}

export interface GateOptimizerOptions {
  /** L, rows of the grid */
  readonly layers: number;
  /** G, columns of the grid */
  readonly kvHeads: number;
  /** λ, weight of mean|α|, ≥ 0 */
  readonly lambda: number;
  /** continue from this state; default: gates 1, no moments */
  readonly state?: GateOptimizerState;
}

/** λ·mean|α| with derivative λ/(L·G)·sign(α), 0 at α = 0, where tf.abs has −1.
 * @param gates [L, G] f32.  @returns a function of the gates giving a scalar f32. */
export function makePenalty(lambda: number): (gates: tf.Tensor) => tf.Tensor {
  return tf.customGrad((input: tf.Tensor | tf.GradSaveFunc) => {
    const gates = input as tf.Tensor;
    return {
      value: tf.mul(tf.mean(tf.abs(gates)), lambda),
      gradFunc: (upstream: tf.Tensor) => tf.mul(upstream, tf.mul(tf.sign(gates), lambda / gates.size)),
    };
  });
}

/** Adam over the gates. Not usable after `dispose`. */
export class GateOptimizer {
  readonly #layers: number;
  readonly #kvHeads: number;
  readonly #gates: tf.Variable;
  readonly #adam: tf.AdamOptimizer;
  readonly #penalty: (gates: tf.Tensor) => tf.Tensor;

  constructor(options: GateOptimizerOptions) {
    const { layers, kvHeads, lambda, state } = options;
    this.#layers = layers;
    this.#kvHeads = kvHeads;
    this.#penalty = makePenalty(lambda);
    const size = layers * kvHeads;
    const start = state?.gates ?? new Float32Array(size).fill(INITIAL_GATE);
    if (start.length !== size) {
      throw new EngineError(`Expected the state of ${layers} × ${kvHeads} gates, got \`${start.length}\` values.`);
    }
    [this.#gates, this.#adam] = onCpuBackend(() => {
      const gates = this.#makeVariable(start, true);
      const adam = tf.train.adam(0, BETA1, BETA2, EPSILON);
      const fields = adam as unknown as AdamFields;
      const makeMoment = (values: Float32Array | undefined) =>
        this.#makeVariable(values ?? new Float32Array(size), false);
      fields.accumulatedFirstMoment = [{ originalName: `${gates.name}/m`, variable: makeMoment(state?.firstMoment) }];
      fields.accumulatedSecondMoment = [{ originalName: `${gates.name}/v`, variable: makeMoment(state?.secondMoment) }];
      fields.iterations_ = state?.steps ?? 0;
      if (state) {
        tf.tidy(() => {
          fields.accBeta1.assign(tf.scalar(state.betaPowers[0] as number));
          fields.accBeta2.assign(tf.scalar(state.betaPowers[1] as number));
        });
      }
      return [gates, adam];
    });
  }

  /** The gates now, `[layers][kvHeads]`, float32 values (a copy). */
  gates(): GateGrid {
    const values = onCpuBackend(() => this.#gates.dataSync());
    return Array.from({ length: this.#layers }, (_, layer) => {
      const start = layer * this.#kvHeads;
      return Array.from(values.subarray(start, start + this.#kvHeads));
    });
  }

  /** λ·mean|α| at the gates now, float32. */
  penalty(): number {
    return onCpuBackend(() => tf.tidy(() => this.#penalty(this.#gates).dataSync()[0] as number));
  }

  /** One step: Adam on the engine's gradient plus the penalty's, then clamp to [0,1].
   * @param gradient d distillation / d gate, [layers][kvHeads], finite; the penalty is not part of it.  @param lr rate of this step.
   * @throws {EngineError} wrong shape, or a value that is not finite, by its head. */
  apply({ gradient, lr }: { gradient: GateGrid; lr: number }): void {
    const flat = this.#flatten(gradient);
    onCpuBackend(() =>
      tf.tidy(() => {
        const { grads } = tf.variableGrads(() => this.#penalty(this.#gates) as tf.Scalar, [this.#gates]);
        const engineGradient = tf.tensor2d(flat, [this.#layers, this.#kvHeads], 'float32');
        const tensor = tf.add(engineGradient, grads[this.#gates.name] as tf.Tensor);
        (this.#adam as unknown as AdamFields).learningRate = lr;
        this.#adam.applyGradients([{ name: this.#gates.name, tensor }]);
        this.#gates.assign(tf.clipByValue(this.#gates, 0, 1));
      }),
    );
  }

  /** All that the next step depends on (copies). */
  exportState(): GateOptimizerState {
    const fields = this.#adam as unknown as AdamFields;
    const read = (tensor: tf.Tensor) => Float32Array.from(tensor.dataSync());
    return onCpuBackend(() => ({
      steps: fields.iterations_,
      gates: read(this.#gates),
      firstMoment: read((fields.accumulatedFirstMoment[0] as { variable: tf.Variable }).variable),
      secondMoment: read((fields.accumulatedSecondMoment[0] as { variable: tf.Variable }).variable),
      betaPowers: Float32Array.of(...read(fields.accBeta1), ...read(fields.accBeta2)),
    }));
  }

  dispose(): void {
    onCpuBackend(() => {
      this.#adam.dispose();
      this.#gates.dispose();
    });
  }

  #makeVariable(values: Float32Array, trainable: boolean): tf.Variable {
    return tf.tidy(() => {
      const shape: [number, number] = [this.#layers, this.#kvHeads];
      return tf.variable(tf.tensor2d(Float32Array.from(values), shape, 'float32'), trainable);
    });
  }

  #flatten(gradient: GateGrid): Float32Array {
    if (gradient.length !== this.#layers || gradient.some((row) => row.length !== this.#kvHeads)) {
      throw new EngineError(
        `Expected a gate gradient of ${this.#layers} × ${this.#kvHeads}, got ${gradient.length} rows of ${gradient.map((row) => row.length).join(', ')}.`,
      );
    }
    gradient.forEach((row, layer) => {
      row.forEach((value, head) => {
        if (Number.isFinite(value)) return;
        throw new EngineError(
          `Expected a finite gate gradient, got \`${value}\` at layer ${layer}, KV head ${head}; check the model's weights for NaN or Inf.`,
        );
      });
    });
    return Float32Array.from(gradient.flat());
  }
}

/** Run `work` with the plain-JS backend and give the backend before it back. Synchronous throughout: the engine cannot run in between. */
function onCpuBackend<T>(work: () => T): T {
  const before = tf.getBackend() as string | undefined;
  if (before === 'cpu') return work();
  // The cpu backend greets on the console at first use unless its PROD flag is set.
  tf.env().set('PROD', true);
  // The cpu backend registers a synchronous factory, so setBackend has switched when it returns; the promise is always true.
  void tf.setBackend('cpu');
  try {
    return work();
  } finally {
    if (before !== undefined) void tf.setBackend(before);
  }
}
