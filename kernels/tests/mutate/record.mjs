// The results of mutants as rows of a table: one is appended as each mutant ends, so that a run that was stopped goes on
// from there, and rows of earlier records are not run again.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';

const COLUMNS = ['result', 'failed checks', 'commit', 'test', 'where', 'from', 'to'];

/**
 * What rows are known by: file and kernel, the old text where the record has it, and the new one. A line's number is
 * left out: it moves with the lines above.
 */
const rowKey = (where, from, to) =>
  [where.replace(/:\d+(?= |$)/, ''), from ?? '', to].map((text) => text.trim()).join('\t');
const whereIs = ({ file, line, kernel }) => `${file}:${line} ${kernel}`.trim();

/** Adds to `counts`, by key, the rows of a record that caught their mutant, one for each line of a file (`seen`). */
function readRecord(path, counts, seen) {
  const [head, ...rows] = readFileSync(path, 'utf8').trimEnd().split('\n');
  const names = head.split('\t');
  const [result, where, from, to] = ['result', 'where', 'from', 'to'].map((name) => names.indexOf(name));
  if ([result, where, to].includes(-1))
    throw new Error(
      `Expected ${path} to start with a line that names the columns result, where and to, found "${head}"`,
    );
  for (const row of rows) {
    const cells = row.split('\t');
    if (!cells[result].startsWith('caught')) continue;
    const key = rowKey(cells[where], cells[from], cells[to]);
    const place = `${key}\t${cells[where]}`;
    if (seen.has(place)) continue;
    seen.add(place);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
}

/** Gives the mutants that records have caught their result; each row stands for one mutant. */
export function markRecorded(mutants, paths) {
  const recorded = new Map();
  const seen = new Set();
  for (const path of paths) readRecord(path, recorded, seen);
  for (const mutant of mutants) {
    if (mutant.result !== undefined) continue;
    const keys = [mutant.from.text, undefined].map((from) => rowKey(whereIs(mutant), from, mutant.to));
    const key = keys.find((each) => recorded.get(each));
    if (key === undefined) continue;
    mutant.result = 'caught, as recorded';
    recorded.set(key, recorded.get(key) - 1);
  }
}

export function appendRow(path, mutant, commit) {
  if (!existsSync(path)) writeFileSync(path, `${COLUMNS.join('\t')}\n`);
  const { result, checks = '', test, from, to } = mutant;
  const cells = [result, checks, commit, test, whereIs(mutant), from.text, to];
  appendFileSync(path, `${cells.map((cell) => cell.trim()).join('\t')}\n`);
}
