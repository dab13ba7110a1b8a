// Parquet in the form kvpress distributes RULER: columns context, question, answer_prefix, answer, max_new_tokens, and task
// where one file holds several. hyparquet decodes it: plain and snappy-compressed pages, as those files are.
import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { parquetReadObjects } from 'hyparquet';
import { FormatError } from '../../errors/errors.ts';
import { fileErrorOf } from '../../formats/atomic-file.ts';
import { scoreAllReferences } from '../metrics/string-match.ts';
import { textField, textListField } from './read-records.ts';
import { chooseRulerScoring } from './ruler.ts';
import type { SuiteItem } from './suite-item.ts';

const MAX_FILE_BYTES = 2 ** 31 - 1;

/** Read a parquet file of prompts. A task of RULER's name gets its score, others the share of answers found.
 * @throws {FileError}; {FormatError} not parquet, or a column absent or of another type, with the row. */
export async function readKvpressParquet(path: string): Promise<SuiteItem[]> {
  const rows = await readRows(path);
  return rows.map((record, index): SuiteItem => {
    const placed = { record, place: `${path}, row ${index}` };
    const references = textListField(placed, 'answer');
    const task = record.task === undefined ? basename(path).replace(/\.parquet$/, '') : textField(placed, 'task');
    const score = chooseRulerScoring(task)?.score ?? scoreAllReferences;
    const prefix = textField(placed, 'answer_prefix');
    return {
      task: `kvpress/${task}`,
      place: placed.place,
      prompt: textField(placed, 'context') + textField(placed, 'question') + prefix,
      references,
      maxNewTokens: readMaxNewTokens(record.max_new_tokens, placed.place),
      score: (prediction) => score(prediction, references),
      tooLong: 'refuse',
    };
  });
}

async function readRows(path: string): Promise<Record<string, unknown>[]> {
  let bytes: Buffer;
  try {
    if (statSync(path).size > MAX_FILE_BYTES)
      throw new FormatError(`Expected ${path} to be at most ${MAX_FILE_BYTES} bytes.`);
    bytes = readFileSync(path);
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    throw fileErrorOf('read', path, cause);
  }
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  try {
    return await parquetReadObjects({ file });
  } catch (cause) {
    throw new FormatError(`Expected ${path} to be a parquet file: ${(cause as Error).message}.`, { cause });
  }
}

/** Parquet's 64-bit integers arrive as BigInt. */
function readMaxNewTokens(value: unknown, place: string): number {
  const count = typeof value === 'bigint' ? Number(value) : value;
  if (Number.isInteger(count) && (count as number) >= 1) return count as number;
  throw new FormatError(
    `Expected \`max_new_tokens\` in ${place} to be an integer of at least 1, got \`${String(value)}\`.`,
  );
}
