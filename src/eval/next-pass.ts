// What an evaluation will need of a GPU in addition to the weights, counted before the engine is opened, which decides from it where weights are kept.
import type { ModelShape, Sample } from '../core/shapes.ts';
import { GPU_CHUNK_TOKENS } from '../engine/open-engine.ts';
import type { NextPass } from '../native/model.ts';
import type { NamedMask } from './baselines.ts';
import type { RunSettings } from './evaluate-task.ts';
import { countSweepBytes, type SizedGroup } from './sweep-bytes.ts';

/** The longest pass (of samples and running text whole, of prompts a chunk) and the caches of the sessions that answer prompts. */
export function countNextPass(options: {
  readonly model: ModelShape;
  readonly masks: readonly NamedMask[];
  /** scored without a session */
  readonly samples: readonly Sample[];
  /** running text, scored without a session */
  readonly longRange?: readonly { readonly length: number }[];
  /** prompts, answered through sessions */
  readonly groups?: readonly SizedGroup[];
  readonly settings?: RunSettings;
  /** cells that run at once */
  readonly concurrent?: number;
}): NextPass {
  const { model, masks, samples, longRange = [], groups = [], settings = {}, concurrent = 1 } = options;
  const { chunkTokens = GPU_CHUNK_TOKENS } = settings;
  const passes = [
    ...samples.map((sample) => sample.tokens.length),
    ...longRange.map(({ length }) => length),
    ...groups.map(({ mostTokens }) => Math.min(mostTokens, chunkTokens)),
  ];
  const tokens = passes.reduce((most, length) => Math.max(most, length), 0);
  const besideBytes = countSweepBytes({ model, groups, masks, settings, device: 'cuda', concurrent });
  return { pass: 'forward', tokens, besideBytes };
}
