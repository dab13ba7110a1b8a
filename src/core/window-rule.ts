// Windows that depend on the length of the text: a rule names windows at one length and gives those at any other (w = β·N, as in MoA,
// arXiv 2406.14909). Without a rule windows have the same number of tokens at every length.
import { ConfigError } from '../errors/errors.ts';

/** Windows in proportion to the length. A type and no interface: it is part of JSON records. */
export type WindowRule = {
  readonly name: 'proportional';
  /** length at which the windows are as named, tokens, ≥ 1 */
  readonly namedAt: number;
};

/** The windows of a ladder in a text of `tokens` tokens: each times tokens / namedAt, rounded, at least 1. At `namedAt` they are those named.
 * @param windows ascending tokens.  @param options.rule null = the same windows at every length.
 * @throws {ConfigError} two of them are the same there. */
export function scaleWindows(
  windows: readonly number[],
  { rule, tokens }: { readonly rule: WindowRule | null | undefined; readonly tokens: number },
): number[] {
  if (!rule) return [...windows];
  const { namedAt } = rule;
  const scaled = windows.map((window) => Math.max(1, Math.round((window * tokens) / namedAt)));
  const same = scaled.findIndex((window, rung) => rung > 0 && window === scaled[rung - 1]);
  if (same < 0) return scaled;
  throw new ConfigError(
    `Expected windows of ${windows[same - 1]} and ${windows[same]} tokens, named at ${namedAt}, to differ at ${tokens} tokens too, got ${scaled[same]} for both; take windows farther apart, or a greater length.`,
  );
}

/** The windows of one sample, each of which must leave out a part of it.
 * @throws {ConfigError} two windows are the same there, or one of them and the sinks hold the sample whole. */
export function scaleToSample(
  windows: readonly number[],
  options: { readonly rule: WindowRule; readonly tokens: number; readonly sinkTokens: number },
): number[] {
  const { rule, tokens, sinkTokens } = options;
  const scaled = scaleWindows(windows, { rule, tokens });
  const held = scaled.findIndex((window) => sinkTokens + window >= tokens);
  if (held < 0) return scaled;
  throw new ConfigError(
    `Expected samples longer than their windows, got one of ${tokens} tokens, which ${sinkTokens} sink tokens and the window of ${windows[held]} at ${rule.namedAt}, ${scaled[held]} there, hold whole; take longer samples or narrower windows.`,
  );
}
