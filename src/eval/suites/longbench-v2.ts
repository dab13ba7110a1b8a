// LongBench v2: data.json, an array of questions with four options each. The suite's own prompt (`prompts/0shot.txt`) is used
// where it is in the folder of the data, else a plain one of ours; a long context loses its middle.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { readJson, readTextWithin } from '../../formats/read-json.ts';
import { scoreLongbenchV2 } from './longbench-v2-score.ts';
import { pickFields, textField } from './read-records.ts';
import type { SuiteItem } from './suite-item.ts';

/** The published file has 465 MB. */
const MAX_FILE_BYTES = 500 * 2 ** 20;
const MAX_PROMPT_BYTES = 2 ** 20;
/** max_new_tokens of the suite's zero-shot run. */
const MAX_NEW_TOKENS = 128;

const OWN_PROMPT =
  'Read the text and answer the question on it.\n\n$DOC$\n\nQuestion: $Q$\nA. $C_A$\nB. $C_B$\nC. $C_C$\nD. $C_D$\n\n' +
  'Answer with one sentence in the form "The correct answer is (letter)".';
const OWN_PROMPT_NOTE = "not comparable: duo's own prompt, without the suite's prompts/0shot.txt next to the data";

/** Read data.json. @throws {FileError}; {FormatError} not an array, or a malformed entry, with its index. */
export function readLongbenchV2(path: string): SuiteItem[] {
  const entries = readJson(path, MAX_FILE_BYTES);
  if (!Array.isArray(entries) || entries.length === 0) {
    throw new FormatError(
      `Expected ${path} to be a JSON array of questions, got \`${Array.isArray(entries) ? 'an empty one' : typeof entries}\`.`,
    );
  }
  const { template, isOwn } = readTemplate(path);
  return entries.map((record: unknown, index): SuiteItem => {
    const place = `${path}, entry ${index}`;
    if (typeof record !== 'object' || record === null) throw new FormatError(`Expected ${place} to be an object.`);
    const placed = { record: record as Record<string, unknown>, place };
    const answer = textField(placed, 'answer').trim();
    if (!/^[A-D]$/.test(answer))
      throw new FormatError(`Expected \`answer\` in ${place} to be A, B, C or D, got \`${answer}\`.`);
    const slots: Readonly<Record<string, string>> = {
      DOC: textField(placed, 'context').trim(),
      Q: textField(placed, 'question').trim(),
      C_A: textField(placed, 'choice_A').trim(),
      C_B: textField(placed, 'choice_B').trim(),
      C_C: textField(placed, 'choice_C').trim(),
      C_D: textField(placed, 'choice_D').trim(),
    };
    return {
      task: 'longbench-v2',
      place,
      prompt: template.replace(/\$(DOC|Q|C_[ABCD])\$/g, (_, slot: string) => slots[slot] as string),
      references: [answer],
      maxNewTokens: MAX_NEW_TOKENS,
      scoring: isOwn ? { ...scoreLongbenchV2(answer), note: OWN_PROMPT_NOTE } : scoreLongbenchV2(answer),
      tooLong: 'cut-joined',
      wantsChat: true,
      record: pickFields(placed.record, ['_id', 'answer', 'difficulty', 'length']),
    };
  });
}

function readTemplate(path: string): { template: string; isOwn: boolean } {
  const folder = dirname(path);
  const file = [folder, join(folder, '..')]
    .map((place) => join(place, 'prompts', '0shot.txt'))
    .find((candidate) => existsSync(candidate));
  return file === undefined
    ? { template: OWN_PROMPT, isOwn: true }
    : { template: readTextWithin(file, MAX_PROMPT_BYTES), isOwn: false };
}
