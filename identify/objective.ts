// What samples are made for, and which objective a step belongs to where two take turns.
import type { Config } from '../src/config/config.ts';

export type Objective = Config['objective'];

/** Which objective step `step` belongs to, and which of that objective's samples it takes: passkeys first where both take turns. */
export function takeTurn(
  objective: Objective,
  step: number,
): { readonly objective: 'passkey' | 'long-range'; readonly index: number } {
  if (objective !== 'both') return { objective, index: step };
  return { objective: step % 2 === 0 ? 'passkey' : 'long-range', index: Math.floor(step / 2) };
}
