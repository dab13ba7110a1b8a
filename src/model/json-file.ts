// Reads one small JSON file of a model folder, bounded in size. What the JSON means is the caller's business.
import { readFileSync, statSync } from 'node:fs';
import { FormatError } from '../errors/errors.ts';
import { fileErrorOf } from '../formats/atomic-file.ts';

/** The largest index and tokenizer files are some 30 MB. */
const MOST_JSON_BYTES = 2 ** 26;

/** Parse the file at `path`. @param mostBytes bound on its size. @throws {FileError} it cannot be read; {FormatError} too large or not JSON. */
export function readJsonFile(path: string, mostBytes = MOST_JSON_BYTES): unknown {
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > mostBytes) {
      throw new FormatError(`Expected ${path} to hold at most ${mostBytes} bytes, got ${size}.`);
    }
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw cause instanceof FormatError ? cause : fileErrorOf('read', path, cause);
  }
  try {
    return JSON.parse(text.startsWith('\ufeff') ? text.slice(1) : text);
  } catch (cause) {
    throw new FormatError(`Expected ${path} to hold JSON, but ${(cause as Error).message}; download it again.`, {
      cause,
    });
  }
}
