// The transformer as plain loops in float64: the shortest correct statement of docs/semantics.md, 1 to 3, for every architecture.
// Engines are held to it. Only the rotary tables come from src/model (float32, as Hugging Face makes them).
import { type GateGrid, type HeadMask, isVisible, type Window } from '../../src/core/shapes.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { computeRotaryTables } from '../../src/model/rope.ts';

/** A model in memory: weights by Hugging Face name, row-major. */
export interface ReferenceModel {
  readonly config: ModelConfig;
  readonly weights: ReadonlyMap<string, Float32Array>;
}

export interface ReferenceGates {
  /** null = full attention everywhere */
  readonly gates: GateGrid | null;
  readonly window: Window | null;
  /** of each head's streaming branch, in place of the window's recent tokens; null = the whole context */
  readonly windows?: HeadMask['windows'] | undefined;
  /** `[layers][T][H·D]` that stand for the full branch (`fullBranch: 'teacher'`) */
  readonly fullOutputs?: Float64Array[][];
}

/** A matrix as rows. */
type Rows = Float64Array[];

/** Final hidden states after the norm, `[T][C]`, and each layer's attention output before o_proj, `[T][H·D]`. */
export function referenceForward(
  model: ReferenceModel,
  tokens: readonly number[],
  options: ReferenceGates,
): { hidden: Rows; attention: Rows[] } {
  const { config } = model;
  const { hidden: width, layers } = config.shape;
  const embedding = take(model, 'model.embed_tokens.weight');
  let stream: Rows = tokens.map((token) => Float64Array.from(embedding.subarray(token * width, (token + 1) * width)));
  const attention: Rows[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const normed = stream.map((row) => rmsNorm(row, take(model, `${prefix}.input_layernorm.weight`), config));
    const mixed = attend(model, layer, normed, options);
    attention.push(mixed);
    const middle = addRows(stream, linear(model, `${prefix}.self_attn.o_proj`, mixed));
    const inner = middle.map((row) => rmsNorm(row, take(model, `${prefix}.post_attention_layernorm.weight`), config));
    const gate = linear(model, `${prefix}.mlp.gate_proj`, inner);
    const up = linear(model, `${prefix}.mlp.up_proj`, inner);
    const product = gate.map((row, t) => row.map((x, i) => (x / (1 + Math.exp(-x))) * up[t]![i]!));
    stream = addRows(middle, linear(model, `${prefix}.mlp.down_proj`, product));
  }
  return { hidden: stream.map((row) => rmsNorm(row, take(model, 'model.norm.weight'), config)), attention };
}

/** Logits `[T][vocab]` of hidden states `[T][C]`. */
export function referenceLogits(model: ReferenceModel, hidden: Rows): Rows {
  const { vocab, hidden: width } = model.config.shape;
  const head = take(model, model.config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight');
  return hidden.map((row) => Float64Array.from({ length: vocab }, (_, v) => dot(head, v * width, row)));
}

/** Distillation loss at `positions` (docs/semantics.md, 3). */
export function referenceLoss(
  model: ReferenceModel,
  tokens: readonly number[],
  options: {
    positions: readonly number[];
    gates: GateGrid;
    window: Window;
    windows?: HeadMask['windows'];
    fullBranch?: 'student' | 'teacher';
  },
): number {
  const teacher = referenceForward(model, tokens, { gates: null, window: null });
  const constant = options.fullBranch === 'teacher' ? { fullOutputs: teacher.attention } : {};
  const { gates, window, windows } = options;
  const student = referenceForward(model, tokens, { gates, window, windows, ...constant });
  let sum = 0;
  for (const position of options.positions) {
    teacher.hidden[position]!.forEach((value, i) => {
      sum += (value - student.hidden[position]![i]!) ** 2;
    });
  }
  return sum / (options.positions.length * model.config.shape.hidden);
}

/** Attention of one layer before o_proj, `[T][H·D]`. */
function attend(model: ReferenceModel, layer: number, input: Rows, options: ReferenceGates): Rows {
  const { config } = model;
  const { heads, kvHeads, headDim } = config.shape;
  const prefix = `model.layers.${layer}.self_attn`;
  const query = rotate(model, normHeads(model, `${prefix}.q_norm.weight`, linear(model, `${prefix}.q_proj`, input)));
  const key = rotate(model, normHeads(model, `${prefix}.k_norm.weight`, linear(model, `${prefix}.k_proj`, input)));
  const value = linear(model, `${prefix}.v_proj`, input);
  return input.map((_, t) => {
    const out = new Float64Array(heads * headDim);
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      const q = query[t]!.subarray(head * headDim, (head + 1) * headDim);
      const scores = key.map((row) => dot(row, kvHead * headDim, q) / Math.sqrt(headDim));
      const branch = (sees: (j: number) => boolean): Float64Array => {
        const visible = scores.map((_score, j) => j).filter(sees);
        const top = Math.max(...visible.map((j) => scores[j]!));
        const weights = visible.map((j) => Math.exp(scores[j]! - top));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        return Float64Array.from({ length: headDim }, (_v, d) =>
          visible.reduce((sum, j, i) => sum + (weights[i]! / total) * value[j]![kvHead * headDim + d]!, 0),
        );
      };
      const { gates, fullOutputs } = options;
      const window = findWindow(options, layer, kvHead);
      const gate = gates === null ? 1 : gates[layer]![kvHead]!;
      const constant = fullOutputs?.[layer]?.[t]?.subarray(head * headDim, (head + 1) * headDim);
      const full = constant ?? branch((j) => j <= t);
      const streaming = window === null ? full : branch((j) => isVisible(t, j, window));
      full.forEach((x, d) => {
        out[head * headDim + d] = gate * x + (1 - gate) * streaming[d]!;
      });
    }
    return out;
  });
}

/** What a head's streaming branch sees; null = everything. */
function findWindow({ window, windows }: ReferenceGates, layer: number, kvHead: number): Window | null {
  if (window === null || windows === undefined) return window;
  const recentTokens = windows[layer]![kvHead]!;
  return recentTokens === null ? null : { sinkTokens: window.sinkTokens, recentTokens };
}

/** y = x·Wᵀ + b, the bias where the model has one. */
function linear(model: ReferenceModel, name: string, input: Rows): Rows {
  const weight = take(model, `${name}.weight`);
  const bias = model.weights.get(`${name}.bias`);
  const width = input[0]!.length;
  return input.map((row) =>
    Float64Array.from({ length: weight.length / width }, (_, o) => dot(weight, o * width, row) + (bias?.[o] ?? 0)),
  );
}

function rmsNorm(row: Float64Array, weight: Float32Array, config: ModelConfig): Float64Array {
  const scale = 1 / Math.sqrt(dot(row, 0, row) / row.length + config.rmsNormEps);
  return row.map((x, i) => x * scale * weight[i]!);
}

/** QK norm: each head's D values on their own; the rows as they are where the model has none. */
function normHeads(model: ReferenceModel, name: string, rows: Rows): Rows {
  const weight = model.weights.get(name);
  if (weight === undefined) return rows;
  const { headDim } = model.config.shape;
  return rows.map((row) => {
    const out = new Float64Array(row.length);
    for (let at = 0; at < row.length; at += headDim) {
      out.set(rmsNorm(row.subarray(at, at + headDim), weight, model.config), at);
    }
    return out;
  });
}

/** RoPE, first half of D with its second half. */
function rotate(model: ReferenceModel, rows: Rows): Rows {
  const { headDim } = model.config.shape;
  const half = headDim / 2;
  const { cos, sin } = computeRotaryTables(model.config, { start: 0, count: rows.length, maxTokens: rows.length });
  return rows.map((row, t) =>
    row.map((x, i) => {
      const d = i % headDim;
      const pair = d < half ? -row[i + half]! : row[i - half]!;
      return x * cos[t * half + (d % half)]! + pair * sin[t * half + (d % half)]!;
    }),
  );
}

function addRows(a: Rows, b: Rows): Rows {
  return a.map((row, t) => row.map((x, i) => x + b[t]![i]!));
}

function dot(matrix: Float32Array | Float64Array, offset: number, vector: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += matrix[offset + i]! * vector[i]!;
  return sum;
}

function take(model: ReferenceModel, name: string): Float32Array {
  const values = model.weights.get(name);
  if (values === undefined) throw new Error(`the reference model has no tensor ${name}`);
  return values;
}
