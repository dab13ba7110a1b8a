// The results of mutants as rows of a table: one is appended as each mutant ends, so that a run that was stopped goes on
// from there, and rows of earlier records are not run again.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';

const COLUMNS = ['result', 'failed checks', 'commit', 'test', 'where', 'from', 'to'];

/** What rows are known by: file, kernel and the new text. A line's number is left out: it moves with the lines above. */
const rowKey = (where, to) => `${where.trim().replace(/:\d+(?= |$)/, '')}\t${to.trim()}`;
const whereIs = ({ file, line, kernel }) => `${file}:${line} ${kernel}`.trim();

/** How many rows that caught their mutant a record has, by their key. */
function readRecord(path) {
  const counts = new Map();
  const [head, ...rows] = readFileSync(path, 'utf8').trimEnd().split('\n');
  const names = head.split('\t');
  const [result, where, to] = ['result', 'where', 'to'].map((name) => names.indexOf(name));
  if ([result, where, to].includes(-1))
    throw new Error(
      `Expected ${path} to start with a line that names the columns result, where and to, found "${head}"`,
    );
  for (const row of rows) {
    const cells = row.split('\t');
    if (!cells[result].startsWith('caught')) continue;
    const key = rowKey(cells[where], cells[to]);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** Gives the mutants that a record has caught their result; each row stands for one mutant. */
export function markRecorded(mutants, paths) {
  const recorded = new Map();
  for (const path of paths) {
    for (const [key, count] of readRecord(path)) recorded.set(key, (recorded.get(key) ?? 0) + count);
  }
  for (const mutant of mutants) {
    if (mutant.result !== undefined) continue;
    const key = rowKey(whereIs(mutant), mutant.to);
    if (!recorded.get(key)) continue;
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
