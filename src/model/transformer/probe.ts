// One-gate changes of the final hidden states, for the quadratic method: how h moves when a single head's gate does.
// The base pass keeps each layer's input; a probe starts at its own layer with one head mixed anew and runs to the end.
import * as tf from '@tensorflow/tfjs-core';
import type { GateGrid, StreamingWindows } from '../../core/shapes.ts';
import { EngineError } from '../../errors/errors.ts';
import { embedTokens, type LayersOptions, makeLayerContext, normFinal, type RunControl, runLayers } from './forward.ts';
import { attendLayer, finishLayer, remixHead } from './layer.ts';
import { makeTables, narrowTables } from './run-tables.ts';
import { TensorBag } from './tensor-bag.ts';
import type { Transformer } from './transformer.ts';

export interface ProbeInput {
  readonly tokens: readonly number[];
  /** supervised positions, ascending, at least one */
  readonly positions: readonly number[];
  /** gates of all heads but the probed one */
  readonly gates: GateGrid;
  /** the probed head's gate */
  readonly probeGates: GateGrid;
  readonly window: StreamingWindows;
  /** heads layer·G + head in [begin, end) */
  readonly begin: number;
  readonly end: number;
}

/** h(gates) − h(gates with one head's gate from `probeGates`), for each head of [begin, end).
 * @returns `[end − begin, positions, C]` fp32, row-major. `control.onLayer` is called after each head.
 * Time: one forward pass, and layers l … L−1 for each head of layer l whose gate moves. Memory: two `[T, C]` tensors per layer in addition to one layer's own.
 * @throws {EngineError} a value is not a number; {AbortedError} between layers. */
export async function computeProbe(
  transformer: Transformer,
  input: ProbeInput,
  control: RunControl = {},
): Promise<Float32Array> {
  const { tokens, positions, gates, probeGates, window, begin, end } = input;
  const { kvHeads, hidden } = transformer.config.shape;
  const size = positions.length * hidden;
  const differences = new Float32Array((end - begin) * size);
  const bag = new TensorBag();
  try {
    const tables = bag.compute(() => makeTables(transformer.config, tokens.length, window));
    const lastTables = bag.compute(() => narrowTables(tables, positions));
    const options: LayersOptions = { signal: control.signal, tables, lastTables, gates };
    const embedded = bag.compute(() => embedTokens(transformer, tokens));
    const base = await runLayers(transformer, embedded, { ...options, bag, keep: 'states' });
    const baseHidden = bag.compute(() => normFinal(transformer, base.output));
    for (let layer = Math.floor(begin / kvHeads); layer * kvHeads < end; layer++) {
      const context = makeLayerContext(transformer, layer, options);
      const attended = bag.compute(() => attendLayer(base.states[layer]!.input, context));
      const first = layer * kvHeads;
      for (let head = Math.max(begin, first); head < Math.min(end, first + kvHeads); head++) {
        const gate = probeGates[layer]![head - first]!;
        if (gate === gates[layer]![head - first]) {
          control.onLayer?.();
          continue;
        }
        const changed = bag.compute(() => {
          const mixed = remixHead(attended, context, { kvHead: head - first, gate });
          const attention = attended.attention.map((own, kvHead) => (kvHead === head - first ? mixed : own));
          return finishLayer(attended.stream, attention, context.weights).output;
        });
        const { output } = await runLayers(transformer, changed, { ...options, bag, fromLayer: layer + 1 });
        const difference = bag.compute(() => tf.sub(baseHidden, normFinal(transformer, output)));
        const values = difference.dataSync<'float32'>();
        requireFinite(values, { layer, kvHead: head - first });
        differences.set(values, (head - begin) * size);
        bag.free(changed, output, difference);
        control.onLayer?.();
      }
      bag.free(attended.stream, ...attended.attention);
      for (const { query, key, value } of attended.heads) bag.free(query, key, value);
    }
    return differences;
  } finally {
    bag.close();
  }
}

function requireFinite(values: Float32Array, place: { layer: number; kvHead: number }): void {
  if (values.every(Number.isFinite)) return;
  throw new EngineError(
    `Expected finite hidden states with (layer ${place.layer}, KV head ${place.kvHead}) probed, got a value that is not a number; check the model's weights`,
  );
}
