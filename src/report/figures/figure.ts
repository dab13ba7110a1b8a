// Figures as SVG text: Observable Plot on linkedom's document, drawn once for a wide and once for a narrow column.
// Elements of a mark with `className: TIPS` carry their value as aria-label; the page's script shows it on hover, touch and keys.
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { escapeHtml } from '../html.ts';
import { RAMP_STEPS, rampColour } from '../theme.ts';

/** Class of the group of elements that answer with a value. */
export const TIPS = 'tips';

/** Pixels: half a desktop page, and a phone of 390 less margins. */
const WIDE = 520;
const NARROW = 326;

export type PlotOptions = Plot.PlotOptions;

/** Small parts that are not marks, as SVG text in the figure's coordinates. */
export interface Drawing {
  readonly plot: PlotOptions;
  readonly extra?: string;
}

export interface Figure {
  /** file name without ending, kebab-case */
  readonly name: string;
  readonly title: string;
  /** what is to be seen, with units; one or two sentences */
  readonly caption: string;
  readonly wide: string;
  readonly narrow: string;
}

/** Draw one figure at both widths. @param options.columns elements in a row of a grid, for the arrow keys; default: one row. */
export function drawFigure(options: {
  readonly name: string;
  readonly title: string;
  readonly caption: string;
  readonly columns?: number;
  readonly draw: (width: number) => Drawing;
}): Figure {
  const { name, title, caption, columns = 0, draw } = options;
  const render = (width: number): string => renderSvg(draw(width), { width, title, columns });
  return { name, title, caption, wide: render(WIDE), narrow: render(NARROW) };
}

/** True for the phone's drawing. */
export function isNarrow(width: number): boolean {
  return width < 400;
}

/** The ramp with its two ends named, right-aligned at the top of a figure. */
export function drawRampLegend(width: number, labels: readonly [string, string]): string {
  const step = 6;
  const right = width - 12 - 7 * labels[1].length;
  const left = right - step * (RAMP_STEPS + 1);
  const cells = Array.from(
    { length: RAMP_STEPS + 1 },
    (_, index) =>
      `<rect x="${left + step * index}" y="6" width="${step}" height="10" fill="${rampColour(index / RAMP_STEPS)}"/>`,
  );
  const text = (x: number, anchor: string, words: string): string =>
    `<text x="${x}" y="15" text-anchor="${anchor}" fill="var(--soft)">${escapeHtml(words)}</text>`;
  return `<g font-size="12">${text(left - 6, 'end', labels[0])}${cells.join('')}${text(right + 6, 'start', labels[1])}</g>`;
}

/** Places for labels at the right end of lines, moved apart to at least 15 px. @param wanted pixels from the top. */
export function spreadLabels(wanted: readonly number[], bounds: { top: number; bottom: number }): number[] {
  const GAP = 15;
  const order = wanted.map((_, index) => index).sort((a, b) => (wanted[a] as number) - (wanted[b] as number));
  const placed = [...wanted];
  let floor = bounds.top;
  for (const index of order) {
    placed[index] = Math.max(placed[index] as number, floor);
    floor = (placed[index] as number) + GAP;
  }
  let ceiling = bounds.bottom;
  for (const index of order.reverse()) {
    placed[index] = Math.min(placed[index] as number, ceiling);
    ceiling = (placed[index] as number) - GAP;
  }
  return placed;
}

/** A label at the right end of a line. */
export function drawEndLabel(label: { x: number; y: number; text: string; colour: string }): string {
  return `<text x="${label.x}" y="${label.y.toFixed(1)}" dy="0.32em" text-anchor="start" font-size="12" font-weight="600" fill="${label.colour}">${escapeHtml(label.text)}</text>`;
}

function renderSvg(drawing: Drawing, options: { width: number; title: string; columns: number }): string {
  const { width, title, columns } = options;
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const svg = Plot.plot({
    ...drawing.plot,
    document: document as never,
    width,
    style: { fontSize: '12px', fontFamily: 'system-ui, sans-serif', background: 'none', color: 'var(--ink)' },
  }) as unknown as { outerHTML: string };
  const label = escapeHtml(`${title}. Arrow keys read the values.`);
  return (
    svg.outerHTML
      .replace(/<style>[\s\S]*?<\/style>/, '')
      // linkedom escapes quotes alone in attributes; XML, as which the SVG files are read, also needs these two
      .replace(/ aria-label="([^"]*)"/g, (_, value: string) => {
        return ` aria-label="${value.replace(/&(?!quot;)/g, '&#38;').replaceAll('<', '&#60;')}"`;
      })
      .replace(
        /^<svg /,
        `<svg xmlns="http://www.w3.org/2000/svg" role="img" tabindex="0" aria-label="${label}" data-columns="${columns}" `,
      )
      .replace(/ (d|transform|x|y|x1|x2|y1|y2|cx|cy|width|height|r)="([^"]*)"/g, (_, name: string, value: string) => {
        return ` ${name}="${value.replace(/-?\d+\.\d{3,}/g, (number) => String(Number(Number(number).toFixed(2))))}"`;
      })
      .replace(/<\/svg>$/, `${drawing.extra ?? ''}</svg>`)
  );
}
