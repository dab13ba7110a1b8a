// Fits what a preset asks of samples to a tokenizer and a model: longer where this tokenizer's passkeys need it, shorter passkeys where the model ends
// too early for them. Only what the preset chose is changed, never what a person set; each change is reported as a sentence.
import type { Config } from '../src/config/config.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';
import { neededTokens } from './passkey.ts';

/** Passkeys and templates take at most this share of the longest sample, so that there is a text to hide them in. */
const MAX_PASSKEY_SHARE = 0.6;
const MIN_WORDS = 4;

/** Fit `config` to a tokenizer.
 * @param options.given keys that a person set, by flag or in a preset file of their own; they stay as they are.
 * @returns a copy where anything had to change, and one sentence per change, for stderr and run.json. Deterministic. */
export function fitPasskeys(
  config: Config,
  options: { tokenizer: Tokenizer; maxPositions: number; given: ReadonlySet<string> },
): { config: Config; changes: string[] } {
  const { tokenizer, maxPositions, given } = options;
  const changes: string[] = [];
  const fitted = { ...config };
  const needed = (): number => neededTokens({ tokenizer, settings: { ...fitted } });
  const longest = Math.min(given.has('maxTokens') ? fitted.maxTokens : maxPositions, maxPositions);
  const isTight = (): boolean => needed() > MAX_PASSKEY_SHARE * longest;
  if (!given.has('wordsPerPasskey')) {
    while (isTight() && fitted.wordsPerPasskey > MIN_WORDS)
      fitted.wordsPerPasskey = Math.ceil(fitted.wordsPerPasskey / 2);
  }
  if (!given.has('passkeys')) {
    while (isTight() && fitted.passkeys > 1) fitted.passkeys--;
  }
  if (fitted.passkeys !== config.passkeys || fitted.wordsPerPasskey !== config.wordsPerPasskey) {
    changes.push(
      `Samples hold ${fitted.passkeys} passkeys of ${fitted.wordsPerPasskey} words instead of ${config.passkeys} of ${config.wordsPerPasskey}, because with this tokenizer those take ${neededTokens({ tokenizer, settings: config })} of the ${longest} tokens that a sample may have.`,
    );
  }
  const least = needed();
  if (!given.has('minTokens') && fitted.minTokens < least && least <= longest) {
    changes.push(
      `Samples begin at ${least} tokens instead of ${fitted.minTokens}, which this tokenizer's passkeys need.`,
    );
    fitted.minTokens = least;
  }
  if (!given.has('maxTokens') && fitted.maxTokens < fitted.minTokens) {
    changes.push(`Samples end at ${fitted.minTokens} tokens instead of ${fitted.maxTokens}, because they begin there.`);
    fitted.maxTokens = fitted.minTokens;
  }
  return { config: fitted, changes };
}
