// The page of a comparison, in the style of duo's report: kept gain and task scores by share of streaming heads, tables of both,
// agreement of masks. One self-contained HTML file; the same numbers lie beside it as CSV.
import { dashOf, drawCurves, seriesColour } from '../../dist/src/report/figures/curves.js';
import { html, trustedHtml } from '../../dist/src/report/html.js';
import { formatScript } from '../../dist/src/report/script.js';
import { formatStyle } from '../../dist/src/report/style.js';
import { makeTable } from '../../dist/src/report/table.js';
import { AGREEMENT_SHARES, CHAT_TASKS, PLAIN_TASKS, ROWS } from './rows.mjs';

const FAMILIES = [...new Set(ROWS.map(({ family }) => family))];

/** @param {ReturnType<import('./collect.mjs').collect>} found  @param {{title: string, lead: string}} words
 * @returns {{html: string, tables: import('../../dist/src/report/table.js').Table[]}} */
export function buildPage(found, { title, lead }) {
  const windows = [...new Set(found.lines.map(({ window }) => window))];
  const sections = windows.map((window) => buildWindow(found, window));
  const shared = listSharedTables(found);
  const tables = [...sections.flatMap((section) => section.tables), ...shared];
  const policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
  const page = html`<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${trustedHtml(formatStyle())}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">duo: which masks keep what long context gives</p>
<h1>${title}</h1>
<p class="lead">${lead}</p>
</header>
${sections.map(
  ({ window, figures, tables: own }) => html`<section><h2>${describeWindow(window)}</h2>
<div class="grid">${figures.map(
    (figure) => html`<figure><figcaption><h3>${figure.title}</h3><p>${figure.caption}</p></figcaption>
<div class="wide">${trustedHtml(figure.wide)}</div><div class="narrow">${trustedHtml(figure.narrow)}</div></figure>`,
  )}</div>
<div class="panels">${own.map((table) => html`<div class="panel">${table.html}</div>`)}</div></section>`,
)}
${shared.length === 0 ? null : html`<section><h2>Agreement, time, windows by head</h2><div class="panels">${shared.map((table) => html`<div class="panel">${table.html}</div>`)}</div></section>`}
</main>
<div id="tip" role="tooltip" hidden></div>
<div id="voice" class="silent" aria-live="polite"></div>
<script>${trustedHtml(formatScript())}</script>
</body>
</html>`;
  return { html: `<!doctype html>\n${page}\n`, tables };
}

const describeWindow = (name) => name.replace(/^s(\d+)r(\d+)$/, 'Sinks $1, recent $2');
const three = (value) => (value === null ? '–' : value.toFixed(3));

function buildWindow(found, window) {
  const lines = found.lines.filter((line) => line.window === window);
  const rows = averageSeeds(lines);
  const shares = [...new Set(lines.map(({ streaming }) => streaming))].sort((a, b) => a - b);
  const measured = (value) => rows.filter((row) => row.points.some((point) => value(point) !== null));
  const figures = [
    {
      name: `gain-${window}`,
      title: 'Kept gain',
      value: (point) => point.keptGain,
      bar: ({ seeds, least, most, interval }) => (seeds > 1 ? [least, most] : interval),
      caption:
        'Share of what long context gives to long-range tokens of held-out books that the mask keeps; mean over seeds. Bars: least to greatest, of one seed its 95 % interval over texts.',
    },
    {
      name: `tasks-${window}`,
      title: 'Task score',
      value: (point) => point.meanScore,
      bar: () => null,
      caption:
        'Mean score of needles in chat form, recall of unlearnt wordings, multi-hop, key-value pairs and copying; mean over seeds.',
    },
  ].flatMap((figure) =>
    measured(figure.value).length === 0 ? [] : [drawRows({ ...figure, rows: measured(figure.value), shares })],
  );
  const baselines = found.baselines.filter((line) => line.window === window);
  return {
    window,
    figures,
    tables: [...makeGainTable({ window, rows, shares }), ...makeTaskTable({ window, rows, baselines })],
  };
}

/** One row per name: its points, each the mean over seeds, with the least and the greatest. */
function averageSeeds(lines) {
  return ROWS.filter(({ name }) => lines.some(({ row }) => row === name)).map(({ name, family }) => {
    const own = lines.filter(({ row }) => row === name);
    const points = [...new Set(own.map(({ streaming }) => streaming))].map((streaming) => {
      const at = own.filter((line) => line.streaming === streaming);
      const of = (pick) => at.map(pick).filter((value) => value !== null && value !== undefined);
      const mean = (values) =>
        values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
      const gains = of(({ keptGain }) => keptGain);
      const tasks = [...CHAT_TASKS, ...PLAIN_TASKS].map((task) => [task, mean(of(({ scores }) => scores[task]))]);
      return {
        streaming,
        seeds: at.length,
        keptGain: mean(gains),
        least: gains.length === 0 ? null : Math.min(...gains),
        most: gains.length === 0 ? null : Math.max(...gains),
        // of one seed: how far the texts decide it
        interval: at.length === 1 ? at[0].interval : null,
        loss: mean(of(({ loss }) => loss)),
        scores: Object.fromEntries(tasks),
        meanScore: mean(of(({ meanScore }) => meanScore)),
      };
    });
    return { name, family, points: points.sort((a, b) => a.streaming - b.streaming) };
  });
}

/** @param figure.value of a point.  @param figure.bar ends of the bar about a point, or null. */
function drawRows({ name, title, caption, value, bar, rows, shares }) {
  const curves = rows.map((row, index) => {
    const colour = row.family === 'random' ? 'var(--neutral)' : seriesColour(FAMILIES.indexOf(row.family));
    return {
      name: row.name,
      colour,
      dash: dashOf(rows.slice(0, index).filter(({ family }) => family === row.family).length),
      points: row.points
        .filter((point) => value(point) !== null)
        .map((point) => {
          const words = `${row.name}, ${Math.round(100 * point.streaming)} % streaming: ${value(point).toFixed(3)}`;
          const [low, high] = bar(point) ?? [];
          return low === undefined
            ? { x: point.streaming, y: value(point), words }
            : { x: point.streaming, y: value(point), low, high, words };
        }),
    };
  });
  const measured = curves.flatMap(({ points }) => points.flatMap(({ y, low = y, high = y }) => [low, high]));
  return drawCurves({
    name,
    title,
    caption: `${caption} Lines of one colour: solid, dashed, dotted in the order of the table.`,
    x: { label: 'KV heads that stream, %', domain: [shares[0], shares.at(-1)], isShare: true },
    y: {
      label: `${title.toLowerCase()}, %`,
      domain: [Math.min(0, ...measured), Math.max(0.1, ...measured)],
      isShare: true,
    },
    curves,
    height: 340,
  });
}

function makeGainTable({ window, rows, shares }) {
  const measured = rows.filter(({ points }) => points.some(({ keptGain }) => keptGain !== null));
  if (measured.length === 0) return [];
  const at = (row, share) => row.points.find(({ streaming }) => streaming === share);
  return [
    makeTable({
      name: `gain-${window}`,
      title:
        'Kept gain by share of streaming heads: mean over seeds, least to greatest; of one seed its 95 % interval over texts',
      rows: measured,
      columns: [
        { label: 'row', value: ({ name }) => name },
        ...shares.map((share) => ({
          label: `${Math.round(100 * share)} %`,
          value: (row) => at(row, share)?.keptGain ?? null,
          show: (row) => {
            const { keptGain, least, most, seeds, interval } = at(row, share);
            if (seeds > 1) return `${three(keptGain)} (${three(least)}–${three(most)})`;
            return interval === null
              ? three(keptGain)
              : `${three(keptGain)} [${three(interval[0])}, ${three(interval[1])}]`;
          },
        })),
      ],
    }),
  ];
}

function makeTaskTable({ window, rows, baselines }) {
  const scored = rows.flatMap(({ name, points }) =>
    points.filter(({ meanScore }) => meanScore !== null).map((point) => ({ name, ...point })),
  );
  if (scored.length === 0) return [];
  const ends = baselines.filter(({ meanScore }) => meanScore !== null).map((line) => ({ name: line.mask, ...line }));
  return [
    makeTable({
      name: `tasks-${window}`,
      title: 'Scores by task, mean over lengths and seeds',
      rows: [...ends, ...scored],
      columns: [
        { label: 'row', value: ({ name }) => name },
        { label: 'streaming', value: ({ streaming }) => streaming },
        ...[...CHAT_TASKS.map((task) => [task, `${task}, chat`]), ...PLAIN_TASKS.map((task) => [task, task])].map(
          ([task, label]) => ({
            label,
            value: ({ scores }) => scores[task] ?? null,
            show: ({ scores }) => three(scores[task]),
          }),
        ),
        { label: 'mean', value: ({ meanScore }) => meanScore, show: ({ meanScore }) => three(meanScore) },
      ],
    }),
  ];
}

function listSharedTables({ agreement, stability, seconds, byHead }) {
  const shareColumns = AGREEMENT_SHARES.map((share) => ({
    label: `at ${Math.round(100 * share)} %`,
    value: ({ shares }) => shares[share],
    show: ({ shares }) => three(shares[share]),
  }));
  const where = [
    { label: 'row', value: ({ row }) => row },
    { label: 'window', value: ({ window }) => window },
  ];
  const tables = [
    [
      agreement,
      {
        name: 'agreement-seeds',
        title: 'Masks of different seeds: share of the smaller class (streaming or retrieval) that is the same',
        columns: [...where, { label: 'masks', value: ({ masks }) => masks }, ...shareColumns],
      },
    ],
    [
      stability,
      {
        name: 'agreement-documents',
        title: 'Masks from disjoint documents, by samples (gates: steps): share of the smaller class that is the same',
        columns: [...where, { label: 'samples', value: ({ samples }) => samples }, ...shareColumns],
      },
    ],
    [
      seconds,
      {
        name: 'seconds',
        title: 'Seconds of duo identify in all, with start and loading, mean over seeds',
        columns: [...where, { label: 'seconds', value: (row) => row.seconds, show: (row) => row.seconds.toFixed(1) }],
      },
    ],
    [
      byHead,
      {
        name: 'by-head',
        title: 'Windows by head and one window, at equal entries of the cache (name@share)',
        columns: [
          { label: 'mask', value: ({ mask }) => mask },
          { label: 'kept gain', value: ({ keptGain }) => keptGain, show: ({ keptGain }) => three(keptGain) },
          { label: 'task score', value: ({ meanScore }) => meanScore, show: ({ meanScore }) => three(meanScore) },
        ],
      },
    ],
  ];
  return tables.flatMap(([rows, table]) => (rows.length === 0 ? [] : [makeTable({ ...table, rows })]));
}
