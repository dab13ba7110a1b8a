// From a suite's prompt to a sample that a model can take: middle cut, chat template, answer prefix, in the suites' own order.
import { ConfigError } from '../../errors/errors.ts';
import { countOccurrences } from '../tasks/complete-sample.ts';
import type { TaskSample, TaskTokenizer } from '../tasks/task.ts';
import type { SuiteItem } from './suite-item.ts';

export interface SuiteSampleOptions {
  readonly tokenizer: TaskTokenizer;
  /** most tokens of prompt and answer together that the model takes */
  readonly maxTokens: number;
  /** most tokens of the prompt alone before the chat template, for suites that cut; default: what leaves room for the answer */
  readonly maxPromptTokens?: number;
  /** the user's message in the model's chat template, up to where the answer begins; null: no template is used */
  readonly renderChat: ((message: string) => string) | null;
}

/** The sample of an item.
 * A cut keeps the first and the last half of the tokens that fit, as LongBench does; where the template or a seam makes the whole
 * longer than the model takes, it keeps fewer.
 * @throws {ConfigError} too long where the suite cuts nothing, with place and both lengths. */
export function makeSuiteSample(item: SuiteItem, options: SuiteSampleOptions): TaskSample {
  const { tokenizer, maxTokens } = options;
  const budget = maxTokens - item.maxNewTokens;
  const isTemplated = options.renderChat !== null && !beginsWithTemplate(item.prompt, tokenizer);
  const finish = (text: string): string => {
    const prefix = item.answerPrefix ?? '';
    if (isTemplated) return (options.renderChat as (message: string) => string)(text) + prefix;
    return text + (item.joint ?? '') + prefix;
  };
  const whole = tokenizer.encode(item.prompt);
  const tokenise = (text: string): number[] => {
    if (isTemplated) return tokenizer.encodeTemplated(text);
    return text === item.prompt ? whole : tokenizer.encode(text);
  };
  const mostPrompt = Math.min(options.maxPromptTokens ?? budget, budget);
  let prompt = finish(item.prompt);
  let promptTokens = tokenise(prompt);
  let kept = whole.length;
  if (item.tooLong === 'refuse' || budget < 2) {
    if (promptTokens.length > budget) {
      throw new ConfigError(
        `Expected ${item.place} to fit into ${maxTokens} tokens, got ${promptTokens.length} and ${item.maxNewTokens} for the answer; choose a shorter file or a longer maximum`,
      );
    }
  } else {
    if (whole.length > mostPrompt || promptTokens.length > budget) kept = Math.min(mostPrompt, whole.length);
    while (kept < whole.length || promptTokens.length > budget) {
      prompt = finish(cutMiddle(whole, { kept, tokenizer, isJoined: item.tooLong === 'cut-joined' }));
      promptTokens = tokenise(prompt);
      if (promptTokens.length <= budget) break;
      kept -= Math.max(1, promptTokens.length - budget);
      if (kept < 2)
        throw new ConfigError(`Expected room for a prompt in ${maxTokens} tokens, got none for ${item.place}`);
    }
  }
  const { scoring } = item;
  const stops = item.endsWithLine ? tokenizer.encode('\n').slice(-1) : [];
  return {
    promptTokens,
    prompt,
    references: item.references,
    answerOccurrences: item.references.map((reference) => countOccurrences(prompt, reference)),
    maxNewTokens: item.maxNewTokens,
    score: scoring.score,
    metric: scoring.metric,
    ...(scoring.others === undefined ? {} : { others: scoring.others }),
    ...(scoring.note === undefined ? {} : { note: scoring.note }),
    ...(item.endsWithLine ? { stopTokens: stops, minNewTokens: 1 } : {}),
    record: item.record,
    teacherForced: null,
    meta: {
      place: item.place,
      fullTokens: whole.length,
      isCut: kept < whole.length,
      ...(item.length === undefined ? {} : { length: item.length }),
    },
  };
}

function cutMiddle(
  tokens: readonly number[],
  options: { kept: number; tokenizer: TaskTokenizer; isJoined: boolean },
): string {
  const { kept, tokenizer, isJoined } = options;
  const half = kept >> 1;
  const head = tokens.slice(0, half);
  // of an odd number LongBench leaves one token out; LongBench v2 and InfiniteBench give it to the end
  const tail = tokens.slice(tokens.length - (isJoined ? kept - half : half));
  return isJoined ? tokenizer.decode([...head, ...tail]) : tokenizer.decode(head) + tokenizer.decode(tail);
}

/** True where a file was made with a model's template in it, as RULER's prepare.py can: it begins with a special token. */
function beginsWithTemplate(prompt: string, tokenizer: TaskTokenizer): boolean {
  return prompt.startsWith('[INST]') || tokenizer.beginsWithSpecial(prompt);
}
