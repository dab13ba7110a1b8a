// Laws of sessions, checked on a short text before anything is timed: only code that was just checked is timed.
import { listWindows, makeHeadMask } from '../core/head-mask.ts';
import type { KvDtype, Session } from '../core/session.ts';
import { filledGrid, type HeadMask } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';

export interface SessionCheck {
  readonly law: string;
  /** max|a−b| / max|b| of the logits */
  readonly error: number;
  readonly limit: number;
  readonly holds: boolean;
}

/** Tokens of the text; small, because models of any size are checked. */
const TOKENS = 40;
/** A window the text overflows several times. */
const WINDOW = { sinkTokens: 3, recentTokens: 8 };
/** Both sides compute the same sums in another order; caches below fp32 may round a neighbour's way, which spreads. */
const LIMITS: Record<KvDtype, number> = { f32: 1e-4, bf16: 1e-2, int8: 1e-2, fp8: 1e-1, k8v4: 2e-1, int4: 2e-1 };
/** A GPU rounds to bf16 between operations, and another number of rows may take another matrix kernel. */
const CUDA_LIMIT = 3e-2;
/** Where activations become int8, the last bit of a sum decides which way one falls: 1/127 of its block's largest value, spread by the layers. */
const INT8_ACTIVATIONS_LIMIT = 1e-1;

/** Check that a mask of ones equals full attention, that S + R ≥ T equals full attention, that chunks do not matter, that decode continues a
 * prefill, and that a fork equals its parent. @param mask says which heads stream, and whose windows are larger; their sizes are the checks' own. */
export async function checkSessions(
  engine: Engine,
  options: { readonly mask: HeadMask; readonly kvDtype: KvDtype; readonly kvRotation?: boolean },
): Promise<SessionCheck[]> {
  const { mask, kvDtype, kvRotation = true } = options;
  const { layers, kvHeads, vocab } = engine.model;
  const tokens = Array.from({ length: TOKENS }, (_, index) => (index * 7919 + 13) % vocab);
  const masked = shrinkWindows(mask);
  const open = (heads: HeadMask | 'full', chunkTokens = TOKENS): Promise<Session> =>
    engine.openSession(heads, { maxTokens: TOKENS + 1, kvDtype, kvRotation, chunkTokens });
  const run = async (heads: HeadMask | 'full', chunkTokens = TOKENS): Promise<Float32Array> =>
    useSession(await open(heads, chunkTokens), (session) => session.prefill(tokens));

  const full = await run('full');
  const oneShot = await run(masked);
  const ones = await run(makeHeadMask(filledGrid(layers, kvHeads, 1), WINDOW));
  const zeros = filledGrid(layers, kvHeads, 0);
  const wide = await run(makeHeadMask(zeros, { sinkTokens: 2, recentTokens: TOKENS }));
  const chunked = await run(masked, 7);
  const continued = await useSession(await open(masked), async (session) => {
    await session.prefill(tokens.slice(0, TOKENS - 2));
    await session.decode(tokens[TOKENS - 2] as number);
    const fork = await session.fork();
    const forked = await useSession(fork, (child) => child.decode(tokens[TOKENS - 1] as number));
    return { forked, logits: await session.decode(tokens[TOKENS - 1] as number) };
  });
  const ofDevice = engine.device.startsWith('cuda')
    ? CUDA_LIMIT
    : engine.device.includes('int8 activations')
      ? INT8_ACTIVATIONS_LIMIT
      : 0;
  const limit = Math.max(ofDevice, LIMITS[kvDtype]);
  const compare = (law: string, a: Float32Array, b: Float32Array): SessionCheck => {
    const error = measureDisagreement(a, b);
    return { law, error, limit, holds: error <= limit };
  };
  return [
    compare('a mask of ones equals full attention', ones, full),
    compare('S + R ≥ T equals full attention', wide, full),
    compare('prefill in chunks of 7 equals one shot', chunked, oneShot),
    compare('decode continues a prefill', continued.logits, oneShot),
    compare('a fork equals its parent', continued.forked, continued.logits),
  ];
}

/** The mask with windows that the text overflows, in the order of its own: 8 tokens, 12, 16 … */
function shrinkWindows(mask: HeadMask): HeadMask {
  const order = listWindows(mask);
  const shrink = (window: number | null) => window && WINDOW.recentTokens + 4 * order.indexOf(window);
  return { sinkTokens: WINDOW.sinkTokens, windows: mask.windows.map((row) => row.map(shrink)) };
}

/** max|a−b| / max|b|. */
export function measureDisagreement(a: Float32Array, b: Float32Array): number {
  let worst = 0;
  let largest = 0;
  for (const [index, value] of b.entries()) {
    worst = Math.max(worst, Math.abs((a[index] as number) - value));
    largest = Math.max(largest, Math.abs(value));
  }
  return worst / largest;
}

async function useSession<Result>(session: Session, use: (session: Session) => Promise<Result>): Promise<Result> {
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}
