// A ladder at the context length that it is cut for: with the windows that its rule makes there, so that budgets count what a mask really has.
import { scaleWindows } from '../src/core/window-rule.ts';
import type { LadderEffects } from '../src/formats/gates.ts';

/** The ladder with its windows at `tokens` tokens; one without a rule has the same at every length. Effects stay: they are those of the rule.
 * @throws {ConfigError} two windows are the same at that length. */
export function resolveLadder(ladder: LadderEffects, tokens: number): LadderEffects {
  const { rule, ...fixed } = ladder;
  return rule ? { ...fixed, windows: scaleWindows(ladder.windows, { rule, tokens }) } : ladder;
}
