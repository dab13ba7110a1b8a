// The layers × heads picture for a terminal: gates as shades or a mask in two colours, a row per layer, a cell per KV head.
// Plain text without colour (NO_COLOR, pipes) shows the same by characters. Printing is the command line's.
import { stripVTControlCharacters } from 'node:util';
import { hasSeveralWindows, listWindows, toMaskGrid } from '../src/core/head-mask.ts';
import type { GateGrid, HeadMask, MaskGrid } from '../src/core/shapes.ts';

/** Columns of the narrowest usual terminal. */
const MAX_COLUMNS = 80;
/** Fixed entries of the 256-colour palette: orange for retrieval, dark grey for streaming. */
const RETRIEVAL_COLOUR = 214;
const STREAMING_COLOUR = 238;
/** Dark grey to white of the palette's grey ramp (232 … 255), lightest = gate 1. */
const DARKEST_GREY = 234;
const LIGHTEST_GREY = 255;
/** Windows in plain text, narrowest first: a few as shades, more as digits and letters. */
const WINDOW_SHADES = '.:-=+*';
const WINDOW_LETTERS = '0123456789abcdefghijklmnopqrstuvwxyz';
/** Narrowest and widest window in colour; the whole context keeps its orange. */
const NARROWEST_GREY = 235;
const WIDEST_GREY = 252;
/** Gate 0 to 1 in plain text: tenths, and # for 1. */
const PLAIN_SHADES = '0123456789#';

export interface PictureOptions {
  /** false: characters only */
  readonly colour: boolean;
}

/** A mask's picture with its legend: two labels, or a shade per window where it has several. Lines joined by newlines, at most 80 columns while kvHeads ≤ 72 (wider rows are folded). */
export function drawMask(mask: MaskGrid | HeadMask, options: PictureOptions): string {
  if (Array.isArray(mask)) return drawLabels(mask, options);
  return hasSeveralWindows(mask) ? drawWindows(mask, options) : drawLabels(toMaskGrid(mask), options);
}

function drawLabels(mask: MaskGrid, options: PictureOptions): string {
  const paint = (label: number, width: number) =>
    options.colour
      ? colourCell(label === 1 ? RETRIEVAL_COLOUR : STREAMING_COLOUR, width)
      : (label === 1 ? '#' : '.').padEnd(width);
  const legend = `${paint(1, 1)} retrieval head (whole context)   ${paint(0, 1)} streaming head (sinks and recent tokens)`;
  return [...drawRows(mask, paint), legend].join('\n');
}

function drawWindows(mask: HeadMask, { colour }: PictureOptions): string {
  const windows = listWindows(mask);
  const letters = windows.length <= WINDOW_SHADES.length ? WINDOW_SHADES : WINDOW_LETTERS;
  const paint = (window: number | null, width: number): string => {
    const rung = window === null ? null : windows.indexOf(window);
    if (!colour) return (rung === null ? '#' : (letters[rung] ?? '?')).padEnd(width);
    const grey = (rank: number) =>
      NARROWEST_GREY + Math.round((rank / (windows.length - 1)) * (WIDEST_GREY - NARROWEST_GREY));
    return colourCell(rung === null ? RETRIEVAL_COLOUR : grey(rung), width);
  };
  const legend = ['whole context', ...windows].map((name) =>
    typeof name === 'string' ? `${paint(null, 1)} ${name}` : `${paint(name, 1)} ${name}`,
  );
  const lines = foldWords([...legend.slice(0, 1), 'nearest tokens:', ...legend.slice(1)]);
  return [...drawRows(mask.windows, paint), ...lines].join('\n');
}

/** Words with three blanks between, in lines of at most 80 columns as a terminal shows them. */
function foldWords(words: readonly string[]): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const longer = lines.length === 0 ? word : `${lines.at(-1)}   ${word}`;
    if (lines.length === 0 || stripVTControlCharacters(longer).length > MAX_COLUMNS) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

/** The picture of gates with its legend. @param gates 0..1. */
export function drawGates(gates: GateGrid, options: PictureOptions): string {
  const paint = (gate: number, width: number) =>
    options.colour ? colourCell(greyOf(gate), width) : (PLAIN_SHADES[Math.floor(gate * 10)] as string).padEnd(width);
  const legend = options.colour
    ? `gate: ${[0, 0.25, 0.5, 0.75, 1].map((gate) => `${paint(gate, 1)} ${gate}`).join('  ')}`
    : 'gate: 0 to 9 = tenths, # = 1';
  return [...drawRows(gates, paint), legend].join('\n');
}

function drawRows<Value>(
  grid: readonly (readonly Value[])[],
  paint: (value: Value, width: number) => string,
): string[] {
  const kvHeads = grid[0]?.length ?? 0;
  const labelWidth = Math.max(5, String(grid.length - 1).length + 1);
  const room = MAX_COLUMNS - labelWidth - 1;
  const width = kvHeads * 2 <= room ? 2 : 1;
  const perLine = Math.floor(room / width);
  const header = `${'layer'.padEnd(labelWidth)} KV heads 0–${kvHeads - 1}`;
  const rows = grid.flatMap((row, layer) => {
    const lines: string[] = [];
    for (let start = 0; start < row.length; start += perLine) {
      const label = start === 0 ? String(layer) : '';
      const cells = row.slice(start, start + perLine).map((value) => paint(value, width));
      lines.push(`${label.padStart(labelWidth)} ${cells.join('')}`.trimEnd());
    }
    return lines;
  });
  return [header, ...rows];
}

function colourCell(colour: number, width: number): string {
  return `\u001b[48;5;${colour}m${' '.repeat(width)}\u001b[0m`;
}

function greyOf(gate: number): number {
  return DARKEST_GREY + Math.round(gate * (LIGHTEST_GREY - DARKEST_GREY));
}
