// duo.shared-result: the result that one process of a joined run computed for a piece of its work, for the others: named doubles, bit for bit.
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { FormatError } from '../errors/errors.ts';
import { stableJson, writeFileAtomic } from './atomic-file.ts';
import { checkSchemaName } from './gates.ts';
import { checkJson, exactly, readJson, textUpTo } from './read-json.ts';

const SCHEMA = 'duo.shared-result';
const VERSION = 1;
/** A ladder's triangle of the most options is 8 million values, in base64 86 MiB. */
const MAX_BYTES = 128 * 2 ** 20;

const schema = z.strictObject({
  schema: exactly(SCHEMA),
  version: exactly(VERSION),
  key: textUpTo(200),
  values: textUpTo(MAX_BYTES),
});

/** Write values whole or not at all. @throws {FileError}. */
export function writeSharedResult(path: string, key: string, values: Float64Array): void {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    bytes.writeDoubleLE(value, index * 8);
  });
  writeFileAtomic(path, stableJson({ schema: SCHEMA, version: VERSION, key, values: bytes.toString('base64') }));
}

/** The values of `key`, null where there are none. @throws {FormatError} malformed, or of another key. */
export function findSharedResult(path: string, key: string): Float64Array | null {
  if (!existsSync(path)) return null;
  const value = readJson(path, MAX_BYTES);
  checkSchemaName(value, { expected: SCHEMA, path });
  const file = checkJson(schema, { value, path });
  const bytes = Buffer.from(file.values, 'base64');
  if (file.key !== key || bytes.length % 8 !== 0) {
    throw new FormatError(
      `Expected ${path} to hold the values of \`${key}\`, got ${bytes.length} bytes of \`${file.key}\`.`,
    );
  }
  return Float64Array.from({ length: bytes.length / 8 }, (_, index) => bytes.readDoubleLE(index * 8));
}
