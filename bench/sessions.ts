// What the session benches share: a shape with random weights, a mask that spreads its streaming heads, bytes a step reads.

import { checkSessions } from '../src/bench/session-checks.ts';
import { countDecodeWeights, findShape } from '../src/bench/shapes.ts';
import { makeHeadMask } from '../src/core/head-mask.ts';
import { countKvBytes } from '../src/core/kv-cost.ts';
import type { KvDtype } from '../src/core/session.ts';
import type { HeadMask, ModelShape } from '../src/core/shapes.ts';
import type { Engine } from '../src/engine/engine.ts';
import { openRandomNativeEngine } from '../src/engine/native/native-engine.ts';
import type { ModelConfig } from '../src/model/config.ts';

export interface Subject {
  readonly config: ModelConfig;
  readonly engine: Engine;
  /** every second head streams, S 128, R 256 */
  readonly mask: HeadMask;
}

/** Open bf16 random weights and prove the session laws on them. @throws {Error} a law does not hold. */
export async function openSubject(options: {
  shape: string;
  layers?: number;
  threads: number;
  kvDtype: KvDtype;
}): Promise<Subject> {
  const config = findShape(options.shape, options.layers === undefined ? {} : { layers: options.layers });
  const engine = await openRandomNativeEngine(config, { seed: 42, weightDtype: 'bf16', threads: options.threads });
  const mask = alternateHeads(config.shape);
  for (const { law, holds, error } of await checkSessions(engine, { mask, kvDtype: options.kvDtype })) {
    if (!holds) throw new Error(`${law}: error ${error}`);
  }
  return { config, engine, mask };
}

/** Half of the heads stream, spread evenly. */
export function alternateHeads({ layers, kvHeads }: ModelShape): HeadMask {
  const mask = Array.from({ length: layers }, (_, layer) =>
    Array.from({ length: kvHeads }, (_, head) => (layer + head) % 2),
  );
  return makeHeadMask(mask, { sinkTokens: 128, recentTokens: 256 });
}

/** Bytes one decode step reads: every bf16 weight once, and the entries that `texts` texts of `tokens` tokens attend to. */
export function countReadBytes(
  config: ModelConfig,
  options: { mask: HeadMask | 'full'; tokens: number; kvDtype: KvDtype; texts?: number },
): number {
  const { mask, tokens, kvDtype, texts = 1 } = options;
  return 2 * countDecodeWeights(config) + texts * countKvBytes({ model: config.shape, mask, tokens, dtype: kvDtype });
}
