// Several independent texts at once: their decode steps share one pass over the weights where the engine can.
import type { Session } from '../core/session.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, ConfigError } from '../errors/errors.ts';
import { checkSampling, type SamplingOptions, sampleToken } from './sampling.ts';

/** One text of a batch. */
export interface BatchText {
  /** its own session of the engine, which has seen at least one token */
  readonly session: Session;
  readonly sampling?: SamplingOptions;
  /** ids that end this text; not fed */
  readonly stopTokens?: readonly number[];
}

/** Feed one token to each session; together where the engine can, else one after the other.
 * @param into `[vocab]` for each session, filled and returned; without it new ones
 * @returns the logits of each. */
export async function decodeTogether(
  engine: Engine,
  sessions: readonly Session[],
  tokens: readonly number[],
  into?: readonly Float32Array[],
): Promise<Float32Array[]> {
  if (sessions.length !== tokens.length) {
    throw new ConfigError(`Expected a token for each session, got ${tokens.length} for ${sessions.length} sessions`);
  }
  if (engine.decodeBatch && sessions.length > 1) return engine.decodeBatch(sessions, tokens, into);
  const logits: Float32Array[] = [];
  for (const [index, session] of sessions.entries()) {
    logits.push(await session.decode(tokens[index] as number, into?.[index]));
  }
  return logits;
}

/** Continue every text by at most `maxNewTokens` tokens; a text that meets a stop token leaves the batch.
 * @returns the drawn tokens of each text, a stop token last where one ended it.
 * @throws {ConfigError} a sampling option out of range; {AbortedError}. */
export async function generateBatch(
  engine: Engine,
  texts: readonly BatchText[],
  options: { readonly maxNewTokens: number; readonly signal?: AbortSignal },
): Promise<number[][]> {
  const samplings = texts.map((text) => checkSampling(text.sampling ?? {}));
  const stops = texts.map((text) => new Set(text.stopTokens));
  const drawn: number[][] = texts.map(() => []);
  const logits = texts.map((text) => text.session.logits());
  let running = texts.map((_, index) => index);
  while (running.length > 0) {
    if (options.signal?.aborted) throw new AbortedError('Generation was stopped on request.');
    for (const index of running) {
      const { session } = texts[index] as BatchText;
      drawn[index]?.push(
        sampleToken(logits[index] as Float32Array, samplings[index] as Required<SamplingOptions>, session.length),
      );
    }
    running = running.filter((index) => {
      const tokens = drawn[index] as number[];
      return tokens.length < options.maxNewTokens && !stops[index]?.has(tokens.at(-1) as number);
    });
    if (running.length === 0) break;
    const sessions = running.map((index) => (texts[index] as BatchText).session);
    const next = await decodeTogether(
      engine,
      sessions,
      running.map((index) => drawn[index]?.at(-1) as number),
      running.map((index) => logits[index] as Float32Array),
    );
    for (const [row, index] of running.entries()) logits[index] = next[row] as Float32Array;
  }
  return drawn;
}
