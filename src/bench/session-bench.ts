// Prefill, decode and memory of sessions under masks and under full attention, at one context. Their decode steps alternate, so that other
// load on the machine affects them equally.

import { median } from '../core/numbers.ts';
import type { KvDtype, Session } from '../core/session.ts';
import type { HeadMask } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, EngineError, NativeError } from '../errors/errors.ts';
import { decodeTogether } from '../runtime/batch.ts';

export interface ContextOptions<Name extends string> {
  /** tokens before the first timed step, at least 1 */
  readonly context: number;
  /** masks that are measured together, by name */
  readonly masks: Readonly<Record<Name, HeadMask | 'full'>>;
  readonly kvDtype: KvDtype;
  /** default true, as a session's */
  readonly kvRotation?: boolean;
  readonly chunkTokens?: number;
  /** timed decode steps of each, at least 1 */
  readonly steps: number;
  /** texts decoded together, at least 1; `most`: as many as the device holds at once, up to 64, for an engine that fills caches */
  readonly batch: number | 'most';
  /** feed the context token by token; false: fill the caches with random entries and time no prefill */
  readonly feedsContext: boolean;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

/** Figures of one mask at one context. */
export interface ContextFigures {
  /** of one text; null where the cache was filled directly */
  readonly prefillSeconds: number | null;
  /** of each timed step, in order; one step feeds a token to every text of the batch */
  readonly stepSeconds: readonly number[];
  /** texts decoded together */
  readonly batch: number;
  /** of one session */
  readonly kvBytes: number;
  readonly fullKvBytes: number;
  readonly workspaceBytes: number;
}

/** First steps after a fill or prefill run on cold caches and are not counted. */
const WARM_UP_STEPS = 2;
/** Largest number of texts in one step of any engine; more texts would save nothing. */
const MAX_TEXTS = 64;

/** @throws {EngineError} the engine cannot fill caches; {AbortedError} between steps. */
export async function measureContext<Name extends string>(
  engine: Engine,
  options: ContextOptions<Name>,
): Promise<Record<Name, ContextFigures>> {
  const opened: Session[] = [];
  try {
    const names = Object.keys(options.masks) as Name[];
    const sides: (Side & { readonly name: Name; readonly stepSeconds: number[] })[] = [];
    for (const name of names) {
      const side = await prepare(engine, { ...options, mask: options.masks[name], opened });
      sides.push({ ...side, name, stepSeconds: [] });
    }
    for (let step = 0; step < WARM_UP_STEPS + options.steps; step++) {
      for (const side of sides) {
        if (options.signal?.aborted) throw new AbortedError('The bench was stopped.');
        const tokens = drawTokens(engine, { step, count: side.sessions.length });
        const startMs = performance.now();
        side.logits = await decodeTogether(engine, side.sessions, tokens, side.logits);
        if (step >= WARM_UP_STEPS) side.stepSeconds.push((performance.now() - startMs) / 1000);
      }
    }
    const entries = sides.map(({ name, prefillSeconds, stepSeconds, sessions }) => [
      name,
      { prefillSeconds, stepSeconds, batch: sessions.length, ...(sessions[0] as Session).memory() },
    ]);
    return Object.fromEntries(entries) as Record<Name, ContextFigures>;
  } finally {
    for (const session of opened) await session.close();
  }
}

function drawTokens(engine: Engine, { step, count }: { step: number; count: number }): number[] {
  return Array.from({ length: count }, (_, index) => (step * 31 + index * 7 + 5) % engine.model.vocab);
}

/** True where a device has no memory for what was asked of it. */
export const isOutOfMemory = (error: unknown): boolean => error instanceof NativeError && error.status === 'MEMORY';

interface Side {
  readonly sessions: Session[];
  /** of the last step, written anew by the next, as a generating loop has them */
  logits?: Float32Array[];
  readonly prefillSeconds: number | null;
}

/** Open the sessions of one mask and bring them to the context. */
async function prepare(
  engine: Engine,
  options: Omit<ContextOptions<string>, 'masks'> & { mask: HeadMask | 'full'; opened: Session[] },
): Promise<Side> {
  const { context, kvDtype, kvRotation = true, chunkTokens, steps, batch, signal } = options;
  const sessions: Session[] = [];
  const open = async (): Promise<Session> => {
    const maxTokens = context + WARM_UP_STEPS + steps;
    const storage = { maxTokens, kvDtype, kvRotation };
    const session = await engine.openSession(options.mask, { ...storage, ...(chunkTokens && { chunkTokens }) });
    options.opened.push(session);
    sessions.push(session);
    return session;
  };
  const first = await open();
  let prefillSeconds: number | null = null;
  if (options.feedsContext) {
    const tokens = Array.from({ length: context }, (_, index) => (index * 7919 + options.seed) % engine.model.vocab);
    const startMs = performance.now();
    await first.prefill(tokens, signal ? { signal } : {});
    prefillSeconds = (performance.now() - startMs) / 1000;
  } else {
    if (!first.fill)
      throw new EngineError(`Expected an engine that fills caches directly, got ${engine.name}; feed the context`);
    await first.fill(context, options.seed);
  }
  if (batch === 'most') await openMost(engine, { sessions, open, context, seed: options.seed });
  for (let index = 1; index < Number(batch); index++) {
    // Texts of their own: a fork's pages are its parent's, which a device may keep in its cache for all of them.
    if (first.fill) {
      const other = await open();
      await other.fill?.(context, options.seed + index);
    } else {
      const fork = await first.fork();
      options.opened.push(fork);
      sessions.push(fork);
    }
  }
  return { sessions, prefillSeconds };
}

/** Open and fill sessions until the device is full, then keep as many as it has memory to decode. */
async function openMost(
  engine: Engine,
  { sessions, open, context, seed }: { sessions: Session[]; open(): Promise<Session>; context: number; seed: number },
): Promise<void> {
  const dropLast = async (): Promise<void> => (sessions.pop() as Session).close();
  while (sessions.length < MAX_TEXTS) {
    const held = sessions.length;
    try {
      const other = await open();
      await other.fill?.(context, seed + sessions.length);
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
      if (sessions.length > held) await dropLast();
      break;
    }
  }
  // A step needs memory too.
  while (sessions.length > 1) {
    try {
      await decodeTogether(engine, sessions, drawTokens(engine, { step: 0, count: sessions.length }));
      for (const [index, session] of sessions.entries()) await session.fill?.(context, seed + index);
      return;
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
      await dropLast();
    }
  }
}

/** The costs of two masks at one context, compared. */
export interface Comparison {
  /** full over masked, medians; above 1 the mask is faster */
  readonly prefillSpeedup: number | null;
  /** tokens a second, masked over full: median over steps, each pair timed back to back */
  readonly decodeSpeedup: number;
  /** masked over full */
  readonly kvShare: number;
  /** bytes read for a token of each text, masked over full */
  readonly readShare: number;
  /** time saved over bytes saved, both as shares of full: 1 = every byte the mask leaves out is time won; null where
   * too few bytes are saved to see them in a time */
  readonly savingShare: number | null;
}

/** Below this share of a step's bytes the noise of timing is larger than what is saved. */
const MIN_BYTES_SAVED = 0.05;

/** @param readBytes of one step: weights once, and the entries each text attends to. Batches may differ: a token's share counts. */
export function compareMasks(
  figures: { full: ContextFigures; masked: ContextFigures },
  readBytes: { full: number; masked: number },
): Comparison {
  const { full, masked } = figures;
  const texts = masked.batch / full.batch;
  const ratios = full.stepSeconds.map((seconds, step) => (texts * seconds) / (masked.stepSeconds[step] as number));
  const decodeSpeedup = median(ratios);
  const readShare = readBytes.masked / readBytes.full / texts;
  const bytesSaved = 1 - readShare;
  const prefillSpeedup =
    full.prefillSeconds === null || masked.prefillSeconds === null ? null : full.prefillSeconds / masked.prefillSeconds;
  return {
    prefillSpeedup,
    decodeSpeedup,
    kvShare: masked.kvBytes / full.kvBytes,
    readShare,
    savingShare: bytesSaved < MIN_BYTES_SAVED ? null : (1 - 1 / decodeSpeedup) / bytesSaved,
  };
}
