// InfiniteBench's prompts. The suite keeps them in Python (src/prompt.py, a dictionary per model); where that file is in the folder of the
// data or in a `src` folder near it, its templates for open models are read, else plain ones of duo's own are used.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { readTextWithin } from '../../formats/read-json.ts';
import { INFINITEBENCH_TASKS } from './infinitebench-score.ts';
import { type PlacedRecord, textField } from './read-records.ts';

/** The templates that the suite's scripts for open models (YaRN-Mistral, Yi, ChatGLM) use. */
const DICTIONARY = 'yarn_mistral_templates';
const MAX_PROMPT_BYTES = 2 ** 20;
const OWN_NOTE = "not comparable: duo's own prompt, without the suite's src/prompt.py next to the data";

const TEXT_THEN_INPUT = '{context}\n\n{input}\n';
const OPTIONS = 'A. {OPTION_A}\nB. {OPTION_B}\nC. {OPTION_C}\nD. {OPTION_D}\n';
const OWN_TEMPLATES: Readonly<Record<string, string>> = {
  passkey: `${TEXT_THEN_INPUT}The pass key is`,
  number_string: `${TEXT_THEN_INPUT}The digits are`,
  kv_retrieval: TEXT_THEN_INPUT,
  longbook_sum_eng: '{context}\n\nWrite a summary of this book.\nSummary:',
  longbook_qa_eng: '{context}\n\nAnswer in a few words: {question}\nAnswer:',
  longbook_qa_chn: '{context}\n\n请用几个字回答：{question}\n答案：',
  longbook_choice_eng: `{context}\n\nQuestion: {question}\n${OPTIONS}Letter of the right option:`,
  longdialogue_qa_eng: '{context}\n\nOne name in this script was replaced with $$MASK$$. The name is',
  math_find: '{prefix}\n\n{context}\n\n{input}\n',
  math_calc:
    'Write the value after each step of a sum, as in this example.\nSum: 2 + 5 - 3\nValues: [2, 7, 4]\n\nSum: {context}\nValues:',
  code_run: 'Python functions:\n\n{context}\n\nThe value of {func_call} is',
  code_debug: `One function of this code has an error that was put there on purpose.\n\n{context}\n\nWhich is it?\n${OPTIONS}The right option is:`,
};

export interface SuitePrompts {
  readonly templates: Readonly<Record<string, string>>;
  /** null for the suite's own */
  readonly note: string | null;
}

/** The suite's prompts near a data file, else duo's. @throws {FormatError} prompt.py lacks a task; {FileError}. */
export function findPrompts(path: string): SuitePrompts {
  const folder = dirname(path);
  const places = [folder, join(folder, 'src'), join(folder, '..', 'src'), join(folder, '..', '..', 'src')];
  const file = places.map((place) => join(place, 'prompt.py')).find((candidate) => existsSync(candidate));
  if (file === undefined) return { templates: OWN_TEMPLATES, note: OWN_NOTE };
  const templates = readPythonDictionary(readTextWithin(file, MAX_PROMPT_BYTES), DICTIONARY);
  const missing = INFINITEBENCH_TASKS.find((task) => templates?.[task] === undefined);
  if (templates === null || missing !== undefined) {
    throw new FormatError(
      `Expected \`${DICTIONARY}\` of ${file} to have a prompt for ${missing ?? 'each task'}, got none.`,
    );
  }
  return { templates, note: null };
}

/** A dictionary of plain strings in Python source, null where none of that name is assigned. Comments may follow entries. */
export function readPythonDictionary(source: string, name: string): Record<string, string> | null {
  const start = source.search(new RegExp(`^${name}\\s*=\\s*\\{`, 'm'));
  if (start < 0) return null;
  const entries: Record<string, string> = {};
  const pattern = /\s*(?:#[^\n]*|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([:,+}]))/y;
  pattern.lastIndex = source.indexOf('{', start) + 1;
  let key: string | null = null;
  let value: string | null = null;
  for (let match = pattern.exec(source); match !== null; match = pattern.exec(source)) {
    const [, literal, mark] = match;
    if (literal !== undefined) value = (value ?? '') + readLiteral(literal);
    if (mark === ':') {
      key = value;
      value = null;
    }
    if (mark !== ',' && mark !== '}') continue;
    if (key !== null && value !== null) entries[key] = value;
    key = null;
    value = null;
    if (mark === '}') return entries;
  }
  return null;
}

function readLiteral(literal: string): string {
  const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' };
  return literal.slice(1, -1).replace(/\\(.)/g, (_, letter: string) => escapes[letter] ?? letter);
}

/** A template with a record's texts, `{{` and `}}` as braces (Python's str.format). */
export function fillInfinitebenchPrompt(
  template: string,
  parts: { readonly task: string; readonly placed: PlacedRecord; readonly options: readonly string[] },
): string {
  const { task, placed, options } = parts;
  const input = textField(placed, 'input');
  const call = /func_[0-9]+\(-?[0-9]+\)/.exec(input)?.[0] ?? '';
  const asText = (key: string, otherwise: string): string =>
    typeof placed.record[key] === 'string' ? (placed.record[key] as string) : otherwise;
  const slots: Readonly<Record<string, string>> = {
    context: textField(placed, 'context'),
    input,
    question: asText('question', input),
    prefix: task === 'math_find' ? describeTarget(input) : '',
    func_call: asText('func_call', call),
    func: asText('func', call.split('(')[0] as string),
    ...Object.fromEntries(options.map((text, index) => [`OPTION_${'ABCD'[index]}`, text])),
  };
  return template.replace(/\{\{|\}\}|\{(\w+)\}/g, (whole, slot: string | undefined) =>
    slot === undefined ? (whole[0] as string) : (slots[slot] ?? whole),
  );
}

/** "What is the second largest number in the following list?" of an input that asks for it, as the suite writes it. */
function describeTarget(input: string): string {
  const wanted =
    /The .+ of/.exec(input)?.[0].toLowerCase().slice(0, -3) ?? /The \w+ number/.exec(input)?.[0].toLowerCase();
  return wanted === undefined ? '' : `What is ${wanted} in the following list?`;
}
