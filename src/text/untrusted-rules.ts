// What the rules of an untrusted tokenizer.json could do beyond cutting a text into pieces: never end, make it many times longer, or
// search it by a regular expression that never ends. The first two are refused here; the third is reported to the caller, which limits its time.
import { jsonText } from '../core/json-text.ts';
import { FormatError } from '../errors/errors.ts';
import { isPublishedPattern } from './pre-tokenizers.ts';

/** Published rules make a text at most three times longer (a space becomes ▁, three bytes in one character). */
const MAX_GROWTH = 1024;

type Rule = Readonly<Record<string, unknown>>;

/** Check the rules of tokenizer.json.
 * @param sections `normalizer`, `pre_tokenizer` and `decoder`, each a tree of rules, applied one after the other.
 * @returns true where a regular expression is not one of a published model.
 * @throws {FormatError} pieces of no length, a pattern that is none, or a text that may become more than 1024 times longer. */
export function checkRules(sections: Readonly<Record<string, unknown>>, path: string): boolean {
  let hasForeignPattern = false;
  for (const [name, section] of Object.entries(sections)) {
    let growth = 1;
    for (const rule of listRules(section)) {
      const { Regex } = rule;
      if (typeof Regex === 'string' && !isPublishedPattern(Regex)) hasForeignPattern = true;
      if (rule.type === 'FixedLength' && !(Number.isInteger(rule.length) && (rule.length as number) > 0)) {
        throw new FormatError(
          `Expected \`length\` of FixedLength in \`${name}\` of ${path} to be an integer of at least 1, got \`${jsonText(rule.length ?? null)}\`.`,
        );
      }
      if (rule.type === 'Split' || rule.type === 'Replace') checkPattern(rule, { name, path });
      growth *= growthOf(rule);
    }
    if (growth > MAX_GROWTH) {
      throw new FormatError(
        `Expected the rules of \`${name}\` of ${path} to make a text at most ${MAX_GROWTH} times longer, got rules that may make it ${growth.toPrecision(2)} times longer; download the file again from where the model was published.`,
      );
    }
  }
  return hasForeignPattern;
}

/** The library would print a warning of its own, and fail later. */
function checkPattern(rule: Rule, place: { name: string; path: string }): void {
  const { Regex, String: text } = (rule.pattern ?? {}) as Rule;
  if (typeof Regex === 'string' || typeof text === 'string') return;
  throw new FormatError(
    `Expected \`pattern\` of ${String(rule.type)} in \`${place.name}\` of ${place.path} to have a text \`String\` or \`Regex\`, got \`${jsonText(rule.pattern ?? null)?.slice(0, 60)}\`.`,
  );
}

/** Every object of a tree, without recursion: how deep a file nests is its own choice. */
function* listRules(section: unknown): Generator<Rule> {
  const left: unknown[] = [section];
  while (left.length > 0) {
    const value = left.pop();
    if (typeof value !== 'object' || value === null) continue;
    if (!Array.isArray(value)) yield value as Rule;
    for (const inner of Object.values(value)) left.push(inner);
  }
}

/** The most that one rule makes a text longer. */
function growthOf(rule: Rule): number {
  if (rule.type === 'Metaspace') return Math.max(1, lengthOf(rule.replacement));
  if (rule.type !== 'Replace') return 1;
  const content = lengthOf(rule.content);
  const pattern = lengthOf((rule.pattern as Rule | null | undefined)?.String);
  // A regular expression may match between any two characters.
  return pattern > 0 ? Math.max(1, content / pattern) : content + Math.min(content, 1);
}

const lengthOf = (value: unknown): number => (typeof value === 'string' ? value.length : 0);
