// What one distillation step takes: floating-point operations and bytes, counted from the shapes.
import type { ModelConfig } from '../../model/config.ts';
import { BLOCK_ROWS } from '../../model/transformer/visibility.ts';
import type { StepEstimate } from '../engine.ts';

const BYTES = 4;

/** Estimate a step over T tokens.
 * @param options.weightCopies copies of each linear weight: 2 for both orders, 4 where wasm packs each of them as well.
 *
 * A product of [m, k] by [k, n] counts 2·m·k·n operations.
 *
 * Operations, per layer: linear maps P = 2·T·(weights of the layer), attention A = 2·H·D·(visible keys of all row blocks).
 * Teacher P + 2A; student P + 2A; backward: the MLP and QKV again, and every map's input gradient, 2·P less o_proj's second
 * pass, taken as 2P; scores, both branches' outputs, dP, dQ, dK, dV: 7A. In all 4P + 11A.
 * It is an upper bound: the last layer computes its supervised positions only.
 *
 * Memory: `weightCopies`·weights; the embedding table once; 2·T·C for each layer kept; of the layer at work 8·T·C +
 * 8·T·(H + 2G)·D + 5·T·intermediate; masks of 4·T² bytes; ten score matrices of one query group and row block. */
export function estimateStep(config: ModelConfig, options: { tokens: number; weightCopies: number }): StepEstimate {
  const { tokens, weightCopies } = options;
  const { layers, heads, kvHeads, headDim, hidden, intermediate, vocab } = config.shape;
  const perLayer = hidden * headDim * (2 * heads + 2 * kvHeads) + 3 * hidden * intermediate;
  let visible = 0;
  for (let start = 0; start < tokens; start += BLOCK_ROWS) {
    const end = Math.min(tokens, start + BLOCK_ROWS);
    visible += (end - start) * end;
  }
  const linear = 2 * tokens * perLayer;
  const attention = 2 * heads * headDim * visible;
  const block = Math.min(tokens, BLOCK_ROWS) * tokens * (heads / kvHeads);
  const activations =
    tokens * (8 * hidden + 8 * (heads + 2 * kvHeads) * headDim + 5 * intermediate + 2 * layers * hidden);
  const values = weightCopies * layers * perLayer + vocab * hidden + activations + tokens * tokens + 10 * block;
  return { memoryBytes: BYTES * values, operations: layers * (4 * linear + 11 * attention) };
}
