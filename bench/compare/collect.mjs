// Gathers what the steps found into one table: a line per row, window, seed and share of streaming heads, and agreement of masks.
import { existsSync, readFileSync } from 'node:fs';
import { measureAgreement } from './agreement.mjs';
import { AGREEMENT_SHARES, CHAT_TASKS, PLAIN_TASKS, ROWS, STABILITY_ROWS } from './rows.mjs';

const readRows = (path) => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).rows : []);
const meanOf = (values) => (values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length);

/** Everything that is there so far.
 * @returns {{lines: object[], baselines: object[], byHead: object[], agreement: object[], stability: object[], seconds: object[]}} */
export function collect(asked, places) {
  const { windows, seeds } = asked;
  const at = windows.flatMap((window) => ROWS.flatMap((row) => seeds.map((seed) => ({ window, row, seed }))));
  const found = at.flatMap(({ window, row, seed }) => {
    const name = `${window.name}/${row.name}/seed-${seed}`;
    const rows = ['gain', 'tasks-chat', 'tasks-plain'].flatMap((step) => readRows(places.file(`${name}/${step}.json`)));
    return summarise(rows).map((line) => ({ window: window.name, row: row.name, family: row.family, seed, ...line }));
  });
  const isBaseline = ({ mask }) => mask === 'full' || mask === 'streaming';
  const firstOf = (list) =>
    list.filter(
      (line, index) => list.findIndex((one) => one.window === line.window && one.mask === line.mask) === index,
    );
  const windowRows = ['gain', 'tasks-chat', 'tasks-plain'].flatMap((step) =>
    readRows(places.file(`by-head/${step}.json`)),
  );
  return {
    lines: found.filter((line) => !isBaseline(line)),
    // the fullest of the equal lines that every row's evaluation has
    baselines: firstOf(
      found.filter(isBaseline).sort((a, b) => Object.keys(b.scores).length - Object.keys(a.scores).length),
    ),
    byHead: summarise(windowRows),
    agreement: windows.flatMap((window) => ROWS.flatMap((row) => compareSeeds({ row, window, seeds, places }))),
    stability: windows.flatMap((window) => STABILITY_ROWS.flatMap((row) => compareHalves({ ...row, window, places }))),
    seconds: windows.flatMap((window) => ROWS.flatMap((row) => timeOf({ row, window, seeds, places }))),
  };
}

/** One line per mask of an evaluation's rows. */
function summarise(rows) {
  return [...new Set(rows.map(({ mask }) => mask))].map((mask) => {
    const own = rows.filter((row) => row.mask === mask);
    const gain = own.find(({ task }) => task === 'long-range');
    const scores = [...CHAT_TASKS, ...PLAIN_TASKS].flatMap((task) => {
      const score = meanOf(own.filter((row) => row.task === task).map(({ accuracy }) => accuracy));
      return score === null ? [] : [[task, score]];
    });
    const [, budget] = mask.split('@');
    return {
      mask,
      streaming: budget === undefined ? null : Number(budget),
      keptGain: gain?.keptGain ?? null,
      interval: gain?.keptGainInterval ?? null,
      loss: gain?.loss ?? null,
      fullLoss: gain?.fullLoss ?? null,
      scores: Object.fromEntries(scores),
      meanScore: meanOf(scores.map(([, score]) => score)),
    };
  });
}

/** Masks of one row under different seeds. */
function compareSeeds({ row, window, seeds, places }) {
  const paths = seeds.map((seed) => places.gates({ row, window, seed })).filter(existsSync);
  if (paths.length < 2) return [];
  const shares = AGREEMENT_SHARES.map((share) => [share, measureAgreement(paths, share)]);
  return [{ window: window.name, row: row.name, masks: paths.length, shares: Object.fromEntries(shares) }];
}

/** Masks of one row from two halves of the documents. */
function compareHalves({ row, counts, window, places }) {
  return counts.flatMap((count) => {
    const paths = ['a', 'b'].map((half) => `${places.half({ row: { name: row }, window, count, half })}/gates.json`);
    if (!paths.every(existsSync)) return [];
    const shares = AGREEMENT_SHARES.map((share) => [share, measureAgreement(paths, share)]);
    return [{ window: window.name, row, samples: count, shares: Object.fromEntries(shares) }];
  });
}

/** What identification took, by its log. */
function timeOf({ row, window, seeds, places }) {
  const seconds = seeds.flatMap((seed) => {
    const log = places.file(`${window.name}/${row.name}/seed-${seed}/identify.log`);
    const [, found] = (existsSync(log) && readFileSync(log, 'utf8').match(/exit code 0, ([\d.]+) s/)) || [];
    return found === undefined ? [] : [Number(found)];
  });
  return seconds.length === 0 ? [] : [{ window: window.name, row: row.name, seconds: meanOf(seconds) }];
}
