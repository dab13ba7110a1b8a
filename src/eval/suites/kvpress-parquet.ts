// Parquet in the form kvpress distributes suites: columns context, question, answer_prefix, answer, max_new_tokens, and task
// where one file holds several. Pages are plain or snappy-compressed, as those files are.
import { basename, dirname } from 'node:path';
import { FormatError } from '../../errors/errors.ts';
import { dropE, findKvpressSuite, scoreKvpress } from './kvpress-score.ts';
import { readClasses } from './longbench.ts';
import type { LongbenchOptions } from './longbench-score.ts';
import { readParquetRows } from './read-parquet.ts';
import { answersField, countField, type PlacedRecord, textField, textListField } from './read-records.ts';
import type { SuiteItem } from './suite-item.ts';

/** The options of a multiple-choice row end its question. */
const OPTIONS = /\nA\. (.*)\nB\. (.*)\nC\. (.*)\nD\. (.*)$/;

/** Read a parquet file of prompts, each scored by the task it comes from.
 * @throws {FileError}; {FormatError} not parquet, a task that duo does not score, or a column absent or of another type, with the row. */
export async function readKvpressParquet(path: string, options: LongbenchOptions = {}): Promise<SuiteItem[]> {
  return readKvpressRows(await readParquetRows(path), path, options);
}

/** The rows of a parquet file as prompts. Errors as above. */
export function readKvpressRows(
  rows: readonly Record<string, unknown>[],
  path: string,
  options: LongbenchOptions = {},
): SuiteItem[] {
  return rows.map((record, index): SuiteItem => {
    const placed = { record, place: `${path}, row ${index}` };
    const task = findTask(placed, path);
    const isLongbench = findKvpressSuite(task) === 'longbench';
    const key = record.answer === undefined && record.answers !== undefined ? 'answers' : 'answer';
    const answers = isLongbench ? answersField(placed, key) : textListField(placed, key);
    const classes = isLongbench ? readClasses(dropE(task), placed) : [];
    const context = textField(placed, 'context');
    const question = textField(placed, 'question');
    const listed = OPTIONS.exec(question === '' ? context : question);
    const length = countField(placed, 'length');
    return {
      task: `kvpress/${task}`,
      place: placed.place,
      prompt: context + question,
      answerPrefix: textField(placed, 'answer_prefix'),
      joint: '\n',
      references: answers,
      maxNewTokens: readMaxNewTokens(record.max_new_tokens, placed.place),
      scoring: scoreKvpress(
        task,
        { answers, classes, ...(listed === null ? {} : { options: listed.slice(1) }) },
        options,
      ),
      tooLong: 'refuse',
      wantsChat: true,
      record: {
        answer: answers,
        ...(classes.length === 0 ? {} : { all_classes: classes }),
        ...(listed === null ? {} : { options: listed.slice(1) }),
        ...(length === null ? {} : { length }),
      },
      ...(length === null ? {} : { length }),
    };
  });
}

/** The row's task, else the file's or its folder's name.
 * @throws {FormatError} none of them is a task that duo scores: no score is better than a wrong one. */
function findTask(placed: PlacedRecord, path: string): string {
  const names = [placed.record.task, basename(path).replace(/\.parquet$/, ''), basename(dirname(path))];
  const known = names.filter((name): name is string => typeof name === 'string');
  // a row that names its task is scored by that name alone
  const task = (typeof placed.record.task === 'string' ? known.slice(0, 1) : known).find(
    (name) => findKvpressSuite(name) !== null,
  );
  if (task !== undefined) return task;
  throw new FormatError(
    `Expected ${placed.place} to come from RULER, LongBench, LongBench v2 or InfiniteBench, got task \`${known[0]}\`; duo does not compute that task's score.`,
  );
}

/** Parquet's 64-bit integers arrive as BigInt. */
function readMaxNewTokens(value: unknown, place: string): number {
  const count = typeof value === 'bigint' ? Number(value) : value;
  if (Number.isInteger(count) && (count as number) >= 1) return count as number;
  throw new FormatError(
    `Expected \`max_new_tokens\` in ${place} to be an integer of at least 1, got \`${String(value)}\`.`,
  );
}
