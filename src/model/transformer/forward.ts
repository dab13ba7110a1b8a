// The forward pass: embedding, layers with gated attention, final norm, logits.
// Layers run one after the other with a pause between them, so that the event loop runs and an abort signal is noticed.
import { setImmediate } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs-core';
import type { GateGrid, StreamingWindows } from '../../core/shapes.ts';
import { AbortedError } from '../../errors/errors.ts';
import { type LayerContext, runLayer } from './layer.ts';
import { applyRmsNorm } from './rms-norm.ts';
import { makeTables, narrowTables, type RunTables } from './run-tables.ts';
import { TensorBag } from './tensor-bag.ts';
import type { Transformer } from './transformer.ts';
import { listLayerWindows } from './visibility.ts';

/** How the caller may stop and watch a run. */
export interface RunControl {
  readonly signal?: AbortSignal | undefined;
  /** called after each layer */
  readonly onLayer?: (() => void) | undefined;
}

export interface LayersOptions extends RunControl {
  readonly tables: RunTables;
  /** tables of the last layer, default `tables`; the output has a row for each of its queries */
  readonly lastTables?: RunTables | undefined;
  /** null = full attention everywhere */
  readonly gates: GateGrid | null;
  /** first layer to run, default 0 */
  readonly fromLayer?: number;
  /** constants `[g, n, D]` per layer and KV head that replace the full branch; default the layer's own */
  readonly fullOutputs?: readonly tf.Tensor3D[][] | null;
  /** what to keep of each layer, default nothing */
  readonly keep?: 'states' | 'attention';
}

export interface LayersResult {
  /** `[n, C]`, before the final norm; n queries of the last layer */
  readonly output: tf.Tensor2D;
  /** with keep 'states': each layer's input `[T, C]` and the stream after its attention block `[n, C]` */
  readonly states: { input: tf.Tensor2D; middle: tf.Tensor2D }[];
  /** with keep 'attention': each layer's attention output before o_proj, by KV head `[g, n, D]` */
  readonly attention: tf.Tensor3D[][];
}

/** Rows of the embedding table. @returns `[T, C]`. */
export function embedTokens(transformer: Transformer, tokens: ArrayLike<number>): tf.Tensor2D {
  const { hidden } = transformer.config.shape;
  const rows = new Float32Array(tokens.length * hidden);
  for (let index = 0; index < tokens.length; index++) {
    const from = (tokens[index] as number) * hidden;
    rows.set(transformer.embedding.subarray(from, from + hidden), index * hidden);
  }
  return tf.tensor2d(rows, [tokens.length, hidden]);
}

/** Run layers `fromLayer` … L−1.
 * @param input `[T, C]`, the input of layer `fromLayer`; not freed.
 * @param options.bag owns every tensor of the result.
 * @throws {AbortedError} between layers. */
export async function runLayers(
  transformer: Transformer,
  input: tf.Tensor2D,
  options: LayersOptions & { bag: TensorBag },
): Promise<LayersResult> {
  const { bag, keep } = options;
  const states: LayersResult['states'] = [];
  const attention: tf.Tensor3D[][] = [];
  let stream = input;
  for (let index = options.fromLayer ?? 0; index < transformer.layers.length; index++) {
    const context = makeLayerContext(transformer, index, options);
    const layer = bag.compute(() => runLayer(stream, context));
    if (keep === 'states') states.push({ input: stream, middle: layer.middle });
    else {
      bag.free(layer.middle);
      if (stream !== input) bag.free(stream);
    }
    if (keep === 'attention') attention.push(layer.attention);
    else bag.free(...layer.attention);
    stream = layer.output;
    options.onLayer?.();
    await pause(options.signal);
  }
  return { output: stream, states, attention };
}

/** What layer `index` needs in a run with these options. */
export function makeLayerContext(transformer: Transformer, index: number, options: LayersOptions): LayerContext {
  const isLast = index === transformer.layers.length - 1;
  const tables = isLast ? (options.lastTables ?? options.tables) : options.tables;
  return {
    weights: transformer.layers[index]!,
    tables,
    windows: listLayerWindows(tables.windows, { layer: index, kvHeads: transformer.config.shape.kvHeads }),
    gates: options.gates?.[index] ?? null,
    fullOutputs: options.fullOutputs?.[index] ?? null,
  };
}

/** Final hidden states of `tokens` after the norm.
 * @param options.gates null = full attention everywhere, and `window` is not looked at.
 * @param options.positions ascending, in 0 … T−1; default all.
 * @returns `[positions, C]` fp32, row-major. */
export async function computeHiddenStates(
  transformer: Transformer,
  tokens: ArrayLike<number>,
  options: { gates: GateGrid | null; window: StreamingWindows | null; positions?: readonly number[] } & RunControl,
): Promise<Float32Array> {
  const bag = new TensorBag();
  try {
    const { output } = await runTokens(transformer, tokens, { ...options, bag });
    return bag.compute(() => normFinal(transformer, output)).dataSync<'float32'>();
  } finally {
    bag.close();
  }
}

/** Logits at some positions of `tokens`.
 * @param options.positions ascending, in 0 … T−1; default all.
 * @returns `[positions, vocab]` fp32, row-major. */
export async function computeLogits(
  transformer: Transformer,
  tokens: ArrayLike<number>,
  options: { gates: GateGrid | null; window: StreamingWindows | null; positions?: readonly number[] } & RunControl,
): Promise<Float32Array> {
  const bag = new TensorBag();
  try {
    const { output } = await runTokens(transformer, tokens, { ...options, bag });
    const head = transformer.vocabularyHead();
    return bag.compute(() => tf.matMul(normFinal(transformer, output), head)).dataSync<'float32'>();
  } finally {
    bag.close();
  }
}

/** @param stream `[n, C]`.  @returns `[n, C]`. */
export function normFinal(transformer: Transformer, stream: tf.Tensor2D): tf.Tensor2D {
  return applyRmsNorm(stream, transformer.finalNorm, transformer.config.rmsNormEps);
}

/** Let the event loop run. @throws {AbortedError} the signal has fired. */
export async function pause(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate();
  if (signal?.aborted) throw new AbortedError('Stopped before the step was complete');
}

async function runTokens(
  transformer: Transformer,
  tokens: ArrayLike<number>,
  options: {
    gates: GateGrid | null;
    window: StreamingWindows | null;
    positions?: readonly number[];
    bag: TensorBag;
  } & RunControl,
): Promise<LayersResult> {
  const { bag, gates, positions } = options;
  const window = gates === null ? null : options.window;
  const tables = bag.compute(() => makeTables(transformer.config, tokens.length, window));
  const lastTables = positions && bag.compute(() => narrowTables(tables, positions));
  const input = bag.compute(() => embedTokens(transformer, tokens));
  return runLayers(transformer, input, { ...options, tables, lastTables });
}
