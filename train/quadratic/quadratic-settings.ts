// Settings of the quadratic method and their check.
import type { WindowRule } from '../../src/core/window-rule.ts';
import { ConfigError } from '../../src/errors/errors.ts';
import type { DistanceRule } from '../distance.ts';
import { checkWindows } from './ladder.ts';
import type { ProbeStep } from './measure-sample.ts';

export interface QuadraticSettings {
  /** samples of each measurement, ≥ 1 */
  readonly samples: number;
  /** most rounds, ≥ 1 */
  readonly rounds: number;
  readonly step: ProbeStep;
  /** what samples are measured by; absent = hidden */
  readonly distance?: DistanceRule | undefined;
  /** λ > 0 */
  readonly lambda: number;
  /** windows whose effects are measured in addition to the gates, ascending tokens; absent = none */
  readonly windows?: readonly number[] | undefined;
  /** how `windows` depend on the length of a sample; absent = the same in every sample */
  readonly windowRule?: WindowRule | undefined;
  /** m, random vectors of a sketch that estimates their effects; absent or 0 = probe each window */
  readonly ladderVectors?: number | undefined;
  /** m, random vectors of a sketch that estimates measurements of many heads; absent or 0 = probe each head */
  readonly vectors?: number | undefined;
}

/** True where the ladder holds what the first round would measure: whole steps to the run's own window around all heads full. Windows that go by the length
 * hold that window in samples of one length alone, and the sums of a ladder do not keep those samples apart from others. */
export function isFirstSpared(
  {
    windows,
    windowRule,
    step,
    ladderVectors = 0,
  }: Pick<QuadraticSettings, 'windows' | 'windowRule' | 'step' | 'ladderVectors'>,
  recentTokens: number,
): boolean {
  return !windowRule && ladderVectors === 0 && step === 'finite' && windows?.includes(recentTokens) === true;
}

/** @param heads N, KV heads of the model.
 * @throws {ConfigError} counts below 1, an unknown step, λ that is not above 0, windows that are no ladder. */
export function checkQuadraticSettings(settings: QuadraticSettings, heads: number): void {
  const expect = (isValid: boolean, name: keyof QuadraticSettings, words: string): void => {
    if (!isValid) throw new ConfigError(`Expected \`${name}\` to be ${words}, got \`${settings[name]}\`.`);
  };
  expect(Number.isInteger(settings.samples) && settings.samples >= 1, 'samples', 'an integer of at least 1');
  expect(Number.isInteger(settings.rounds) && settings.rounds >= 1, 'rounds', 'an integer of at least 1');
  expect(settings.step === 'finite' || settings.step === 'tangent', 'step', 'finite or tangent');
  const isLambdaValid = Number.isFinite(settings.lambda) && settings.lambda > 0;
  expect(isLambdaValid, 'lambda', 'a number above 0 for the quadratic method, which has nothing to trade without it');
  for (const name of ['ladderVectors', 'vectors'] as const) {
    const vectors = settings[name] ?? 0;
    expect(Number.isInteger(vectors) && vectors >= 0, name, 'an integer of at least 0');
  }
  if (settings.windows) checkWindows(settings.windows, heads);
  const namedAt = settings.windowRule?.namedAt ?? 1;
  if (!(Number.isInteger(namedAt) && namedAt >= 1)) {
    throw new ConfigError(`Expected \`windowRule.namedAt\` to be an integer of at least 1, got \`${namedAt}\`.`);
  }
}
