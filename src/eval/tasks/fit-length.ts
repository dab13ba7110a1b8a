// Fits a prompt to a length in tokens by the number of its haystack units. The prompt is tokenised whole each time, as a
// user's would be; the search estimates tokens per unit, so a long prompt is tokenised a handful of times.
import { ConfigError } from '../../errors/errors.ts';
import type { TaskTokenizer } from './task.ts';

export interface FittedPrompt {
  readonly prompt: string;
  readonly promptTokens: number[];
  readonly units: number;
}

/** The largest number of units whose prompt has at most `budgetTokens` tokens.
 * @param options.write the prompt with a number of units; tokens must grow with it, except for merges at seams.
 * @param options.minUnits fewest units the task allows, default 0.  @param options.maxUnits most there are, default unbounded.
 * @param options.reservedTokens tokens kept for the answer, only for the message.
 * @throws {ConfigError} the prompt with minUnits is longer already, or maxUnits are too few; the message names the least or most length. */
export function fitPrompt(options: {
  readonly task: string;
  readonly tokenizer: TaskTokenizer;
  readonly lengthTokens: number;
  readonly reservedTokens: number;
  readonly write: (units: number) => string;
  readonly minUnits?: number;
  readonly maxUnits?: number;
}): FittedPrompt {
  const { task, tokenizer, lengthTokens, reservedTokens, write, minUnits = 0, maxUnits = Infinity } = options;
  const budget = lengthTokens - reservedTokens;
  const tokenise = (units: number): FittedPrompt => {
    const prompt = write(units);
    return { prompt, promptTokens: tokenizer.encode(prompt), units };
  };
  let fitting = tokenise(minUnits);
  const least = fitting.promptTokens.length;
  if (least > budget) {
    throw new ConfigError(
      `Expected task \`${task}\` to get at least ${least + reservedTokens} tokens, ${reservedTokens} of them for the answer, got ${lengthTokens}`,
    );
  }
  let tooMany = maxUnits + 1;
  let step = Math.min(Math.max(1, budget - least), 64);
  let tokensPerUnit = Number.NaN;
  for (let round = 0; tooMany - fitting.units > 1; round++) {
    const room = budget - fitting.promptTokens.length;
    const bisect = round > 12 && Number.isFinite(tooMany);
    const wanted = bisect ? Math.floor((fitting.units + tooMany) / 2) : fitting.units + step;
    const units = Math.min(Math.max(wanted, fitting.units + 1), tooMany - 1);
    const tried = tokenise(units);
    const grown = tried.promptTokens.length - fitting.promptTokens.length;
    if (grown > 0) tokensPerUnit = grown / (units - fitting.units);
    if (tried.promptTokens.length <= budget) fitting = tried;
    else tooMany = units;
    const left = tried.promptTokens.length <= budget ? budget - tried.promptTokens.length : room;
    step = Number.isNaN(tokensPerUnit) ? step * 2 : Math.floor(left / tokensPerUnit);
  }
  const room = budget - fitting.promptTokens.length;
  if (fitting.units === maxUnits && room > 2 * tokensPerUnit) {
    const most = fitting.promptTokens.length + reservedTokens;
    throw new ConfigError(`Task \`${task}\` has text for ${most} tokens only, got a length of ${lengthTokens}`);
  }
  return fitting;
}
