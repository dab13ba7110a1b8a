// Records of a CSV file (RFC 4180) with a header, as pandas writes it: quotes round what holds commas, quotes or line breaks.
import { FormatError } from '../../errors/errors.ts';
import { readTextWithin } from '../../formats/read-json.ts';
import { MAX_RECORDS_BYTES, type PlacedRecord } from './read-records.ts';

/** Every row under the header as an object of texts, placed at the line where it begins.
 * @throws {FileError}; {FormatError} too large, an open quote, a row with more or fewer cells than the header, no row at all. */
export function readCsvRecords(path: string): PlacedRecord[] {
  const rows = splitRows(readTextWithin(path, MAX_RECORDS_BYTES).replace(/^\ufeff/, ''), path);
  const [header, ...body] = rows;
  if (header === undefined || body.length === 0) {
    throw new FormatError(`Expected ${path} to hold a header and at least one row, got none.`);
  }
  return body.map(({ cells, line }) => {
    const place = `${path}, line ${line}`;
    if (cells.length !== header.cells.length) {
      throw new FormatError(
        `Expected ${place} to have ${header.cells.length} cells as the header has, got ${cells.length}.`,
      );
    }
    return { record: Object.fromEntries(header.cells.map((name, index) => [name, cells[index] as string])), place };
  });
}

interface Row {
  readonly cells: string[];
  /** from 1 */
  readonly line: number;
}

function splitRows(text: string, path: string): Row[] {
  const CELL = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  const rows: Row[] = [];
  let cells: string[] = [];
  let line = 1;
  let start = 1;
  while (CELL.lastIndex < text.length || cells.length > 0) {
    const match = CELL.exec(text);
    if (match === null) {
      throw new FormatError(
        `Expected ${path}, line ${line} to be a row of CSV: a quote is open or out of place there.`,
      );
    }
    const [whole, quoted, plain, end] = match as unknown as [string, string | undefined, string | undefined, string];
    cells.push(quoted === undefined ? (plain as string) : quoted.replaceAll('""', '"'));
    line += whole.split('\n').length - 1;
    if (end === ',') continue;
    // a blank line is no row
    if (cells.length > 1 || cells[0] !== '') rows.push({ cells, line: start });
    cells = [];
    start = line;
    if (end === '') break;
  }
  return rows;
}
