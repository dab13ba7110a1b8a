// The generation loop above a Session of either engine: sample, stop, decode, and text that streams out as it becomes certain.
import type { Session } from '../core/session.ts';
import { AbortedError, ConfigError } from '../errors/errors.ts';
import { TextStream } from '../text/text-stream.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { checkSampling, type SamplingOptions, sampleToken } from './sampling.ts';
import { StopText } from './stop-text.ts';

export interface GenerateOptions extends SamplingOptions {
  /** most tokens to draw, at least 1 */
  readonly maxNewTokens: number;
  /** ids that end the text; they are neither shown nor fed */
  readonly stopTokens?: readonly number[];
  /** tokens before which no stop token can be drawn, default 0 */
  readonly minNewTokens?: number;
  /** strings that end the text, also across tokens; they are not shown */
  readonly stopStrings?: readonly string[];
  /** called with each piece of text as it becomes certain */
  readonly onText?: (text: string) => void;
  readonly signal?: AbortSignal;
  /** tokens fed of the prompt */
  readonly onPrefill?: (done: number, total: number) => void;
}

export interface GenerateResult {
  readonly text: string;
  /** drawn tokens, a stop token last where one ended the text */
  readonly tokens: number[];
  readonly stopReason: 'length' | 'stop-token' | 'stop-string';
  /** time to the logits of the prompt */
  readonly prefillSeconds: number;
  /** time of the decode steps, and of drawing where the engine draws */
  readonly decodeSeconds: number;
  /** tokens fed by decode steps; tokens a second = decodedTokens / decodeSeconds */
  readonly decodedTokens: number;
}

/** Feed a prompt and continue it. Deterministic for equal engines and options.
 * @param source.session holds what came before, and at least prompt + maxNewTokens more tokens.
 * @param source.prompt token ids, at least one.
 * @throws {ConfigError} an option out of range; {AbortedError}; {EngineError} of the session. */
export async function generateText(
  source: { readonly session: Session; readonly tokenizer: Tokenizer; readonly prompt: readonly number[] },
  options: GenerateOptions,
): Promise<GenerateResult> {
  const { session, tokenizer, prompt } = source;
  const { maxNewTokens, signal } = options;
  const sampling = checkSampling(options);
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new ConfigError(`Expected \`maxNewTokens\` to be an integer of at least 1, got \`${maxNewTokens}\``);
  }
  if (options.stopStrings?.some((stop) => stop.length === 0)) {
    throw new ConfigError('Expected every stop string to have at least one character, got an empty one');
  }
  const stopTokens = new Set(options.stopTokens);
  const stream = new TextStream(tokenizer, { context: prompt });
  const stopText = new StopText(options.stopStrings ?? []);
  const tokens: number[] = [];
  let text = '';
  const show = (piece: string): void => {
    if (piece === '') return;
    text += piece;
    options.onText?.(piece);
  };

  const startMs = performance.now();
  let logits = await session.prefill(prompt, {
    ...(signal && { signal }),
    ...(options.onPrefill && { onProgress: options.onPrefill }),
  });
  const prefillSeconds = (performance.now() - startMs) / 1000;
  let decodeSeconds = 0;
  let decodedTokens = 0;
  let stopReason: GenerateResult['stopReason'] = 'length';
  const mayStop = (): boolean => tokens.length >= (options.minNewTokens ?? 0);
  const draw = (): number => {
    // a stop token that may not come yet has no chance, as transformers' min_new_tokens has it
    if (!mayStop()) for (const id of stopTokens) logits[id] = Number.NEGATIVE_INFINITY;
    return sampleToken(logits, sampling, session.length);
  };
  for (let token = draw(); ; ) {
    if (signal?.aborted) throw new AbortedError('Generation was stopped on request.');
    tokens.push(token);
    if (stopTokens.has(token)) {
      stopReason = 'stop-token';
      break;
    }
    show(stopText.push(stream.push(token)));
    if (stopText.found !== null) {
      stopReason = 'stop-string';
      break;
    }
    // The last token's logits would not be used.
    if (tokens.length === maxNewTokens) break;
    const stepMs = performance.now();
    if (session.step && mayStop()) {
      // Drawn where the logits are: a row of 128K logits would be half a megabyte per token.
      token = await session.step(token, sampling);
      decodeSeconds += (performance.now() - stepMs) / 1000;
    } else {
      logits = await session.decode(token, logits);
      decodeSeconds += (performance.now() - stepMs) / 1000;
      token = draw();
    }
    decodedTokens++;
  }
  if (stopText.found === null) {
    show(stopText.push(stream.finish()));
    if (stopText.found === null) show(stopText.finish());
  }
  return { text, tokens, stopReason, prefillSeconds, decodeSeconds, decodedTokens };
}
