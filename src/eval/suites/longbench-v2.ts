// LongBench v2: data.json, an array of questions with four options each. The suite's own prompt (`prompts/0shot.txt`) is used
// where it lies beside the data, else a plain one of ours; a long context loses its middle.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { readJson, readTextWithin } from '../../formats/read-json.ts';
import { scoreOption } from '../metrics/choice.ts';
import { textField } from './read-records.ts';
import type { SuiteItem } from './suite-item.ts';

/** The published file has 465 MB. */
const MAX_FILE_BYTES = 500 * 2 ** 20;
const MAX_PROMPT_BYTES = 2 ** 20;
/** max_new_tokens of the suite's zero-shot run. */
const MAX_NEW_TOKENS = 128;

const OWN_PROMPT =
  'Read the text and answer the question on it.\n\n$DOC$\n\nQuestion: $Q$\nA. $C_A$\nB. $C_B$\nC. $C_C$\nD. $C_D$\n\n' +
  'Answer with the letter of the right option, in the form "The correct answer is (letter)".\nThe correct answer is (';

/** Read data.json. @throws {FileError}; {FormatError} not an array, or a malformed entry, with its index. */
export function readLongbenchV2(path: string): SuiteItem[] {
  const entries = readJson(path, MAX_FILE_BYTES);
  if (!Array.isArray(entries) || entries.length === 0) {
    throw new FormatError(
      `Expected ${path} to be a JSON array of questions, got \`${Array.isArray(entries) ? 'an empty one' : typeof entries}\`.`,
    );
  }
  const template = readTemplate(path);
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
      score: (prediction) => scoreOption(prediction, answer),
      tooLong: 'cut-middle',
    };
  });
}

function readTemplate(path: string): string {
  const file = join(dirname(path), 'prompts', '0shot.txt');
  return existsSync(file) ? readTextWithin(file, MAX_PROMPT_BYTES) : OWN_PROMPT;
}
