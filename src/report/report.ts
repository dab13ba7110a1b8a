// The report of a run: one self-contained HTML page, its figures as SVG, its tables as CSV. Equal run folders, equal bytes.

import { formatSeconds, formatShare, formatShareInterval, formatTokens } from '../core/words.ts';
import type { Figure } from './figures/figure.ts';
import { type Html, html, trustedHtml } from './html.ts';
import { describeBudget, describeRanks, describeTies, describeWindowRule, describeWindows } from './mask-words.ts';
import { type Measured, readMeasure } from './measure.ts';
import type { RunData } from './run-data.ts';
import { formatScript } from './script.ts';
import { buildMemorySection, buildSpeedSection } from './sections/cost.ts';
import { buildHeadsSection, buildTrainingSection } from './sections/heads.ts';
import { buildMethodsSection } from './sections/methods.ts';
import { buildProvenanceSection } from './sections/provenance.ts';
import { buildClosingSection, buildTasksSection } from './sections/recall.ts';
import { isMissing, type MissingSection, type Section, type SectionResult } from './sections/section.ts';
import { formatStyle } from './style.ts';
import { type Measures, type Summary, summariseRun } from './summary.ts';
import { resolveColours } from './theme.ts';

export interface Report {
  readonly summary: Summary;
  readonly html: string;
  /** files next to the page: figures as SVG in light colours, tables as CSV */
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** sections that were left out */
  readonly missing: readonly MissingSection[];
}

/** Pixels; two usual figures below one another. */
const TALL = 560;

/** Build the report of a run that was read. Deterministic; nothing is written. */
export function buildReport(data: RunData, measures: Measures): Report {
  const summary = summariseRun(data, measures);
  const results: SectionResult[] = [
    buildHeadsSection(data),
    buildClosingSection(data),
    buildTasksSection(data),
    buildMemorySection(data, measures),
    buildSpeedSection(data),
    buildTrainingSection(data),
    buildMethodsSection(data),
    buildProvenanceSection(data),
  ];
  const sections = results.filter((result): result is Section => !isMissing(result));
  const missing = results.filter(isMissing);
  return {
    summary,
    html: `<!doctype html>\n${formatPage({ data, summary, sections, missing })}\n`,
    files: [
      ...sections.flatMap(({ figures }) =>
        figures.map(({ name, wide }) => ({ name: `${name}.svg`, text: `${resolveColours(wide)}\n` })),
      ),
      ...sections.flatMap(({ tables }) => tables.map(({ name, csv }) => ({ name: `${name}.csv`, text: csv }))),
    ],
    missing,
  };
}

function formatPage(parts: {
  data: RunData;
  summary: Summary;
  sections: readonly Section[];
  missing: readonly MissingSection[];
}): Html {
  const { data, summary, sections, missing } = parts;
  // the policy makes a browser refuse any request the page could make
  const policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
  return html`<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,">
<title>${summary.title}: duo report</title>
<style>${trustedHtml(formatStyle())}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">duo report</p>
<h1>${summary.title}</h1>
<p class="lead">${describeLead(data, summary)}</p>
${data.warnings.map((warning) => html`<p class="warning">Warning: ${warning}.</p>`)}
${formatTiles(summary)}
<nav aria-label="Sections">${sections.map(({ id, title }) => html`<a href="#${id}">${title}</a>`)}</nav>
</header>
${sections.map(formatSection)}
${missing.length === 0 ? null : html`<ul class="missing" aria-label="Not in this report">${missing.map(formatMissing)}</ul>`}
</main>
<div id="tip" role="tooltip" hidden></div>
<div id="voice" class="silent" aria-live="polite"></div>
<script>${trustedHtml(formatScript())}</script>
</body>
</html>`;
}

function describeLead(data: RunData, { method, heads, training }: Summary): string {
  const model = data.mask?.model ?? data.gates?.model;
  return [
    model && `${model.architecture}, ${model.layers} layers × ${model.kvHeads} KV heads (${model.heads} query heads).`,
    method &&
      `Heads found by the method ${method}${training ? ` in ${training.steps} steps, ${formatSeconds(training.seconds)}` : ''}.`,
    ...(heads && data.mask
      ? [
          describeWindows(data.mask),
          describeRanks(data.mask),
          describeBudget(data.mask),
          describeWindowRule(data.mask),
          describeTies(data.mask),
        ]
      : []),
    data.run && data.run.status !== 'done' && `The run is ${data.run.status}; figures show what there is.`,
  ]
    .filter(Boolean)
    .join(' ');
}

function formatTiles({ heads, budget, savings, recall, keptGain }: Summary): Html | null {
  const tiles: [value: string, label: string, note: string][] = [];
  if (heads) {
    tiles.push([
      formatShare(heads.streaming / heads.total),
      'of the heads stream',
      `${heads.streaming} of ${heads.total} KV heads`,
    ]);
  }
  if (budget) {
    tiles.push([
      formatShare(budget.kvShare),
      'of a full KV cache is kept',
      `at ${formatTokens(budget.tokens)} tokens, the length of the cut`,
    ]);
  }
  for (const { tokens, saved } of savings) {
    tiles.push([formatShare(saved), 'of the KV cache saved', `at ${formatTokens(tokens)} tokens`]);
  }
  if (recall) {
    const { full, given } = recall;
    tiles.push([
      formatShare(given.accuracy),
      'recall with the mask',
      `${formatShareInterval(given.accuracyInterval)}; full attention ${formatShare(full.accuracy)}; ${given.samples} samples`,
    ]);
  }
  if (keptGain) {
    const { value, low, high } = readMeasure(keptGain) as Measured;
    const of = keptGain.length === null ? '' : ` of ${formatTokens(keptGain.length)} tokens`;
    tiles.push([
      formatShare(value),
      'of long context’s gain kept',
      `${formatShareInterval([low, high])}; ${keptGain.samples} held-out texts${of}`,
    ]);
  }
  if (tiles.length === 0) return null;
  return html`<div class="tiles">${tiles.map(
    ([value, label, note]) =>
      html`<div class="tile"><b>${value}</b><span>${label}</span><small>${note.replaceAll(' %', '\u00a0%')}</small></div>`,
  )}</div>`;
}

function formatSection({ id, title, figures, tables, more }: Section): Html {
  const panel = (inner: Html): Html => html`<div class="panel">${inner}</div>`;
  const atSide = figures.length % 2 === 1 && tables[0]?.isCompact ? tables.slice(0, 1) : [];
  const below = tables.slice(atSide.length);
  // a tall heat map has two lower figures at its side
  const shape = figures.length === 3 && heightOf(figures[0] as Figure) > TALL ? 'grid tall' : 'grid';
  return html`<section id="${id}">
<h2>${title}</h2>
${figures.length === 0 ? null : html`<div class="${shape}">${figures.map(formatFigure)}${atSide.map((table) => panel(table.html))}</div>`}
<div class="panels">${more ? panel(more) : null}${below.map((table) => panel(table.html))}</div>
</section>
`;
}

function heightOf({ wide }: Figure): number {
  return Number(/^<svg [^>]*\bheight="([\d.]+)"/.exec(wide)?.[1] ?? 0);
}

function formatFigure({ name, title, caption, wide, narrow }: Figure): Html {
  return html`<figure id="figure-${name}"><figcaption><h3>${title}</h3><p>${caption}</p></figcaption>
<div class="wide">${trustedHtml(wide)}</div><div class="narrow">${trustedHtml(narrow)}</div></figure>
`;
}

function formatMissing({ title, reason, command }: MissingSection): Html {
  return html`<li><b>${title}</b> is left out: ${reason}.${command === null ? null : html` <code>${command}</code> produces it.`}</li>`;
}
