// Distillation loss and its gradient for the gates (DESIGN, Semantics 3; arXiv 2410.10819, section 2.2).
// The teacher runs first, then the student with the streams around its blocks kept; backward, one layer at a time is
// computed again, so that memory grows with one layer's activations and two [T, C] tensors a layer.
import * as tf from '@tensorflow/tfjs-core';
import type { GateGrid, Window } from '../../core/shapes.ts';
import { EngineError } from '../../errors/errors.ts';
import { embedTokens, gatherRows, makeTables, normFinal, pause, type RunControl, runLayers } from './forward.ts';
import { backLayer } from './layer.ts';
import { backRmsNorm } from './rms-norm.ts';
import { TensorBag } from './tensor-bag.ts';
import type { Transformer } from './transformer.ts';

export interface DistillationInput {
  readonly tokens: readonly number[];
  /** supervised positions, ascending, at least one */
  readonly positions: readonly number[];
  readonly gates: GateGrid;
  readonly window: Window;
  /** whose full attention enters the mix */
  readonly fullBranch: 'student' | 'teacher';
}

/** @returns the loss and d loss / d gates `[L][G]`; same input and backend, same bytes.
 * @throws {EngineError} the loss or a gradient is not a number; {AbortedError} between layers. */
export async function computeDistillation(
  transformer: Transformer,
  input: DistillationInput,
  control: RunControl = {},
): Promise<{ loss: number; gradient: GateGrid }> {
  const bag = new TensorBag();
  try {
    const { tokens, positions, gates } = input;
    const tables = bag.compute(() => makeTables(transformer, tokens.length, input.window));
    const embedded = bag.compute(() => embedTokens(transformer, tokens));
    const keepTeacher = input.fullBranch === 'teacher' ? { keep: 'attention' as const } : {};
    const teacher = await runLayers(transformer, embedded, { ...control, bag, tables, gates: null, ...keepTeacher });
    const target = bag.compute(() => normFinal(transformer, gatherRows(teacher.output, positions)));
    bag.free(teacher.output);
    const fullOutputs = input.fullBranch === 'teacher' ? teacher.attention : null;
    const student = await runLayers(transformer, embedded, {
      ...control,
      bag,
      tables,
      gates,
      fullOutputs,
      keep: 'states',
    });
    const { loss, outputGradient } = compareHidden(transformer, { output: student.output, target, positions, bag });
    const gradient: number[][] = [];
    let above = outputGradient;
    for (let index = transformer.layers.length - 1; index >= 0; index--) {
      const weights = transformer.layers[index]!;
      const mix = { visibility: tables.visibility, gates: gates[index]!, fullOutput: fullOutputs?.[index] ?? null };
      const states = student.states[index]!;
      const layer = bag.compute(() =>
        backLayer(states, above, { weights, rotary: tables.rotary, mix, gatesOnly: index === 0 }),
      );
      gradient[index] = [...layer.gates.dataSync<'float32'>()];
      requireFinite(gradient[index]!, index);
      bag.free(above, layer.gates, states.input, states.middle);
      if (layer.input !== null) above = layer.input;
      control.onLayer?.();
      await pause(control.signal);
    }
    return { loss, gradient };
  } finally {
    bag.close();
  }
}

/** The loss, and its gradient with respect to the last layer's output `[T, C]`. */
function compareHidden(
  transformer: Transformer,
  options: { output: tf.Tensor2D; target: tf.Tensor2D; positions: readonly number[]; bag: TensorBag },
): { loss: number; outputGradient: tf.Tensor2D } {
  const { output, target, positions, bag } = options;
  const result = bag.compute(() => {
    const rows = gatherRows(output, positions);
    const difference = tf.sub(normFinal(transformer, rows), target);
    const normedGradient: tf.Tensor2D = tf.mul(difference, 2 / difference.size);
    const rowGradient = backRmsNorm(rows, normedGradient, {
      weight: transformer.finalNorm,
      eps: transformer.config.rmsNormEps,
    });
    return {
      loss: tf.mean(tf.square(difference)),
      outputGradient: scatterRows(rowGradient, positions, output.shape[0]),
    };
  });
  const loss = result.loss.dataSync<'float32'>()[0]!;
  if (!Number.isFinite(loss)) {
    throw new EngineError(
      `Expected the distillation loss to be a finite number, got ${loss}; check the model's weights`,
    );
  }
  return { loss, outputGradient: result.outputGradient };
}

/** Rows put at `positions` of `count` rows, zeros elsewhere: an exact product with a 0/1 matrix.
 * @param rows `[positions, C]`.  @returns `[count, C]`. */
function scatterRows(rows: tf.Tensor2D, positions: readonly number[], count: number): tf.Tensor2D {
  const placement = new Float32Array(count * positions.length);
  positions.forEach((position, index) => {
    placement[position * positions.length + index] = 1;
  });
  return tf.matMul(tf.tensor2d(placement, [count, positions.length]), rows);
}

function requireFinite(gradient: readonly number[], layer: number): void {
  const kvHead = gradient.findIndex((value) => !Number.isFinite(value));
  if (kvHead < 0) return;
  throw new EngineError(
    `Expected the gradient of gate (layer ${layer}, KV head ${kvHead}) to be a finite number, got ${gradient[kvHead]}; check the model's weights`,
  );
}
