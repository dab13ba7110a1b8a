// Checks of what an engine is given, the same for every engine: samples, gates, masks, windows.
import type { GateGrid, HeadMask, ModelShape, Sample, StreamingWindows } from '../core/shapes.ts';
import { ConfigError, EngineError, FormatError } from '../errors/errors.ts';
import type { AttentionRequest, ProbeRequest } from './engine.ts';

/** @throws {FormatError} no or too many tokens, an id outside the vocabulary, a range outside 1 ≤ start < end ≤ T, no answer. */
export function checkSample(sample: Sample, model: ModelShape): void {
  checkTokens(sample.tokens, model);
  const count = sample.tokens.length;
  if (sample.answers.length === 0)
    throw new FormatError('Expected a sample to have at least one answer range, found none');
  for (const [start, end] of sample.answers) {
    if (Number.isInteger(start) && Number.isInteger(end) && start >= 1 && start < end && end <= count) continue;
    throw new FormatError(
      `Expected an answer range [start, end) with 1 ≤ start < end ≤ ${count}, the sample's length, got [${start}, ${end})`,
    );
  }
}

/** @throws {FormatError} no or too many tokens, an id outside the vocabulary. */
export function checkTokens(tokens: ArrayLike<number>, model: ModelShape): void {
  if (tokens.length === 0) throw new FormatError('Expected at least one token, got none');
  if (tokens.length > model.maxPositions) {
    throw new FormatError(
      `Expected at most ${model.maxPositions} tokens, the longest text the model declares, got ${tokens.length}; shorten the sample`,
    );
  }
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index] as number;
    if (Number.isInteger(token) && token >= 0 && token < model.vocab) continue;
    throw new FormatError(
      `Expected token ids from 0 to ${model.vocab - 1}, got ${token} at position ${index}; was the sample made for another model?`,
    );
  }
}

/** @throws {EngineError} an array for logits that is not `[vocab]`. */
export function checkLogitsArray(into: Float32Array | undefined, model: ModelShape): void {
  if (into === undefined || into.length === model.vocab) return;
  throw new EngineError(`Expected an array of ${model.vocab} logits to write to, got one of ${into.length}`);
}

/** @throws {ConfigError} S < 0, R < 1 or not integers; what checkMask throws. */
export function checkWindows(window: StreamingWindows, model: ModelShape): void {
  if ('windows' in window) {
    checkMask(window, model);
    return;
  }
  const { sinkTokens, recentTokens } = window;
  checkSinkTokens(sinkTokens);
  if (!Number.isInteger(recentTokens) || recentTokens < 1) {
    throw new ConfigError(`Expected \`recentTokens\` to be an integer of at least 1, got \`${recentTokens}\``);
  }
}

/** @param gates `[layers][kvHeads]`.  @throws {ConfigError} another shape, or a value outside 0..1. */
export function checkGates(gates: GateGrid, model: ModelShape): void {
  checkGridShape(gates, 'gates', model);
  gates.forEach((row, layer) => {
    const kvHead = row.findIndex((gate) => !(gate >= 0 && gate <= 1));
    if (kvHead < 0) return;
    throw new ConfigError(`Expected gates from 0 to 1, got ${row[kvHead]} at layer ${layer}, KV head ${kvHead}`);
  });
}

/** @throws {ConfigError} not a mask, another shape, S < 0, a window that is neither null nor an integer of at least 1. */
export function checkMask(mask: HeadMask, model: ModelShape): void {
  if (!Array.isArray(mask?.windows) || !mask.windows.every(Array.isArray)) {
    throw new ConfigError("Expected a mask to be 'full' or { sinkTokens, windows }, windows of [layers][kvHeads]");
  }
  checkGridShape(mask.windows, 'windows', model);
  checkSinkTokens(mask.sinkTokens);
  mask.windows.forEach((row, layer) => {
    const kvHead = row.findIndex((window) => window !== null && !(Number.isInteger(window) && window >= 1));
    if (kvHead < 0) return;
    throw new ConfigError(
      `Expected windows of at least 1 token, or null for the whole context, got ${row[kvHead]} at layer ${layer}, KV head ${kvHead}`,
    );
  });
}

/** @throws {ConfigError} grids of another shape or outside 0..1, an impossible window, or a range of heads that is empty or beyond the model's. */
export function checkProbe(request: ProbeRequest, model: ModelShape): void {
  checkGates(request.gates, model);
  checkGates(request.probeGates, model);
  checkWindows(request.window, model);
  const { begin, end } = request;
  const count = model.layers * model.kvHeads;
  if (Number.isInteger(begin) && Number.isInteger(end) && begin >= 0 && begin < end && end <= count) return;
  throw new ConfigError(`Expected KV heads [begin, end) with 0 ≤ begin < end ≤ ${count}, got [${begin}, ${end})`);
}

/** @throws {FormatError} as checkTokens; {ConfigError} positions not ascending within the text, or a range of keys that does not lie in it. */
export function checkAttention(tokens: readonly number[], request: AttentionRequest, model: ModelShape): void {
  checkTokens(tokens, model);
  const { positions, keyRanges } = request;
  if (positions.length === 0 || positions.length !== keyRanges.length) {
    throw new ConfigError(
      `Expected positions with a range of keys each, got ${positions.length} positions and ${keyRanges.length} ranges`,
    );
  }
  positions.forEach((position, index) => {
    const least = index === 0 ? 0 : (positions[index - 1] as number) + 1;
    if (Number.isInteger(position) && position >= least && position < tokens.length) return;
    throw new ConfigError(`Expected positions that ascend from 0 to ${tokens.length - 1}, got ${position}`);
  });
  for (const [begin, end] of keyRanges) {
    if (Number.isInteger(begin) && Number.isInteger(end) && begin >= 0 && begin <= end && end <= tokens.length)
      continue;
    throw new ConfigError(`Expected keys [begin, end) with 0 ≤ begin ≤ end ≤ ${tokens.length}, got [${begin}, ${end})`);
  }
}

function checkSinkTokens(sinkTokens: number): void {
  if (Number.isInteger(sinkTokens) && sinkTokens >= 0) return;
  throw new ConfigError(`Expected \`sinkTokens\` to be an integer of at least 0, got \`${sinkTokens}\``);
}

function checkGridShape(grid: readonly (readonly unknown[])[], name: string, model: ModelShape): void {
  const { layers, kvHeads } = model;
  if (grid.length === layers && grid.every((row) => row.length === kvHeads)) return;
  const widths = [...new Set(grid.map((row) => row.length))].join(', ');
  throw new ConfigError(
    `Expected \`${name}\` of ${layers} layers with ${kvHeads} KV heads each, got ${grid.length} layers with ${widths || 'no'} KV heads`,
  );
}
