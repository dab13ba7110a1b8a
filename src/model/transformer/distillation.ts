// Distillation loss and its gradient for the gates (docs/semantics.md, 3; arXiv 2410.10819, section 2.2).
// The teacher runs first, then the student with the streams around its blocks kept; backward, one layer at a time is
// computed again, so that memory grows with one layer's activations and two [T, C] tensors per layer.
import * as tf from '@tensorflow/tfjs-core';
import type { GateGrid, StreamingWindows } from '../../core/shapes.ts';
import { EngineError } from '../../errors/errors.ts';
import {
  embedTokens,
  type LayersOptions,
  makeLayerContext,
  normFinal,
  pause,
  type RunControl,
  runLayers,
} from './forward.ts';
import { backLayer } from './layer.ts';
import { backRmsNorm } from './rms-norm.ts';
import { makeTables, narrowTables } from './run-tables.ts';
import { TensorBag } from './tensor-bag.ts';
import type { Transformer } from './transformer.ts';

export interface DistillationInput {
  readonly tokens: readonly number[];
  /** supervised positions, ascending, at least one */
  readonly positions: readonly number[];
  readonly gates: GateGrid;
  readonly window: StreamingWindows;
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
    const { tokens, positions, gates, window } = input;
    const tables = bag.compute(() => makeTables(transformer.config, tokens.length, window));
    // The loss looks at some positions only: the last layer computes no others.
    const lastTables = bag.compute(() => narrowTables(tables, positions));
    const embedded = bag.compute(() => embedTokens(transformer, tokens));
    const shared = { ...control, bag, tables, lastTables };
    const isConstant = input.fullBranch === 'teacher';
    const teacher = await runLayers(transformer, embedded, {
      ...shared,
      gates: null,
      ...(isConstant ? { keep: 'attention' } : {}),
    });
    const options: LayersOptions = { ...shared, gates, fullOutputs: isConstant ? teacher.attention : null };
    const student = await runLayers(transformer, embedded, { ...options, bag, keep: 'states' });
    const { loss, outputGradient } = compareHidden(transformer, {
      teacher: teacher.output,
      student: student.output,
      bag,
    });
    const gradient: number[][] = [];
    let above = outputGradient;
    for (let index = transformer.layers.length - 1; index >= 0; index--) {
      const context = makeLayerContext(transformer, index, options);
      const states = student.states[index]!;
      const layer = bag.compute(() => backLayer(states, above, { ...context, gatesOnly: index === 0 }));
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

/** The loss, and its gradient with respect to the student's last output.
 * @param options.teacher and options.student `[positions, C]`, before the final norm. */
function compareHidden(
  transformer: Transformer,
  options: { teacher: tf.Tensor2D; student: tf.Tensor2D; bag: TensorBag },
): { loss: number; outputGradient: tf.Tensor2D } {
  const { teacher, student, bag } = options;
  const result = bag.compute(() => {
    const difference: tf.Tensor2D = tf.sub(normFinal(transformer, student), normFinal(transformer, teacher));
    const normedGradient: tf.Tensor2D = tf.mul(difference, 2 / difference.size);
    const outputGradient = backRmsNorm(student, normedGradient, {
      weight: transformer.finalNorm,
      eps: transformer.config.rmsNormEps,
    });
    return { loss: tf.mean(tf.square(difference)), outputGradient };
  });
  const loss = result.loss.dataSync<'float32'>()[0]!;
  if (!Number.isFinite(loss)) {
    throw new EngineError(
      `Expected the distillation loss to be a finite number, got ${loss}; check the model's weights`,
    );
  }
  return { loss, outputGradient: result.outputGradient };
}

function requireFinite(gradient: readonly number[], layer: number): void {
  const kvHead = gradient.findIndex((value) => !Number.isFinite(value));
  if (kvHead < 0) return;
  throw new EngineError(
    `Expected the gradient of gate (layer ${layer}, KV head ${kvHead}) to be a finite number, got ${gradient[kvHead]}; check the model's weights`,
  );
}
