// predictions.csv of kvpress's evaluate.py: the columns of its data sets without the context, and predicted_answer. Lists are cells in
// the form that Python prints them in.
import { FormatError } from '../../errors/errors.ts';
import { readPythonList } from './python-list.ts';
import { readCsvRecords } from './read-csv.ts';
import type { PlacedRecord } from './read-records.ts';

const LISTS = ['answer', 'answers', 'all_classes'];

/** Rows with their lists and numbers as such.
 * @throws {FileError}; {FormatError} a column is absent, a row malformed or one of its lists shortened, with the line. */
export function readKvpressCsv(path: string): PlacedRecord[] {
  const rows = readCsvRecords(path);
  const columns = Object.keys((rows[0] as PlacedRecord).record);
  const has = (name: string): boolean => columns.includes(name);
  if (!has('predicted_answer') || !has('task') || !(has('answer') || has('answers'))) {
    throw new FormatError(
      `Expected ${path} to have the columns task, predicted_answer and answer or answers, as kvpress's predictions.csv has, got ${columns.join(', ')}.`,
    );
  }
  return rows.map(({ record, place }) => ({
    place,
    record: Object.fromEntries(
      Object.entries(record).map(([name, cell]) => [name, readCell(name, String(cell), place)]),
    ),
  }));
}

function readCell(name: string, cell: string, place: string): unknown {
  if (name === 'length') return cell === '' ? undefined : Number(cell);
  if (!LISTS.includes(name)) return cell;
  if (cell === '' || cell === 'None') return name === 'all_classes' ? null : undefined;
  if (!cell.startsWith('[')) return cell;
  const list = readPythonList(cell);
  if (list !== null) return list;
  throw new FormatError(
    `Expected \`${name}\` in ${place} to be a whole list as Python prints it, got \`${cell.slice(0, 40)}…\`; numpy shortens lists of more than a thousand elements.`,
  );
}
