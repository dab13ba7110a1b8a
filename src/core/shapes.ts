// Shapes and small data types every room shares: the model's sizes, gates, masks, windows, samples.
// Vocabulary: L layers, H query heads, G KV heads, g = H/G, D head dim, C hidden, T tokens.

/** Model families duo computes; the name is `model_type` of config.json. */
export type Architecture = 'llama' | 'mistral' | 'qwen2' | 'qwen3';

/** Sizes of a transformer. All counts are integers of at least 1. */
export interface ModelShape {
  readonly architecture: Architecture;
  /** L */
  readonly layers: number;
  /** H, query heads per layer */
  readonly heads: number;
  /** G, KV heads per layer; divides `heads` */
  readonly kvHeads: number;
  /** D; heads·headDim need not equal hidden */
  readonly headDim: number;
  /** C */
  readonly hidden: number;
  /** width of the MLP */
  readonly intermediate: number;
  readonly vocab: number;
  /** longest sample the model declares, in tokens (after rope scaling) */
  readonly maxPositions: number;
}

/** One trained value in [0,1] per KV head, `[layers][kvHeads]`; 1 = full attention. */
export type GateGrid = number[][];

/** 0/1 per KV head, `[layers][kvHeads]`; 1 = retrieval head (full cache), 0 = streaming head. */
export type MaskGrid = number[][];

/** What a streaming head sees: key j is visible to query i iff j ≤ i and (j < sinkTokens or i − j < recentTokens). */
export interface Window {
  /** S ≥ 0, first tokens always visible */
  readonly sinkTokens: number;
  /** R ≥ 1, nearest tokens, the query's own included */
  readonly recentTokens: number;
}

/** A head mask as engines and the runtime take it: how much of the context each KV head sees and caches. */
export interface HeadMask {
  /** S ≥ 0, first tokens that every head sees */
  readonly sinkTokens: number;
  /** `[layers][kvHeads]`: null = the whole context (a retrieval head), w ≥ 1 = the w nearest tokens, the query's own included */
  readonly windows: (number | null)[][];
}

/** What the streaming branches of heads see: one window for all, or each its own as in a mask, where null is the whole context. */
export type StreamingWindows = Window | HeadMask;

/** Token range [start, end) of an answer inside a sample, 1 ≤ start < end ≤ T. */
export type AnswerRange = [start: number, end: number];

/** One sample: token ids and its answer ranges; other keys of a samples file are kept as they were. */
export interface Sample {
  readonly tokens: number[];
  readonly answers: AnswerRange[];
  readonly [key: string]: unknown;
}

/** Which positions the distillation loss looks at. `predict`: start−1 … end−2, where the next token is an answer token. `answer`: start … end−1. */
export type Supervise = 'predict' | 'answer';

/** `[layers][kvHeads]` filled with one value. */
export function filledGrid(layers: number, kvHeads: number, value: number): number[][] {
  return Array.from({ length: layers }, () => new Array<number>(kvHeads).fill(value));
}

/** Positions the loss looks at, ascending, each once even where ranges overlap (docs/semantics.md, 3).
 * @param answers ranges with 1 ≤ start < end ≤ T. */
export function supervisedPositions(answers: readonly AnswerRange[], supervise: Supervise): number[] {
  const shift = supervise === 'predict' ? 1 : 0;
  const positions = new Set<number>();
  for (const [start, end] of answers) {
    for (let index = start; index < end; index++) positions.add(index - shift);
  }
  return [...positions].sort((a, b) => a - b);
}

/** True iff a streaming head's query `i` sees key `j` (docs/semantics.md, 1). */
export function isVisible(query: number, key: number, window: Window): boolean {
  return key <= query && (key < window.sinkTokens || query - key < window.recentTokens);
}
