// Tables once as HTML, with values as a person reads them, and once as CSV, with the plain numbers.
import { type Html, html } from './html.ts';

export type CellValue = string | number | null;

export interface Column<Row> {
  readonly label: string;
  readonly value: (row: Row) => CellValue;
  /** as shown; default: the value itself, null as a dash */
  readonly show?: (row: Row) => string;
}

/** Columns that fit half a page. */
const MAX_COMPACT_COLUMNS = 4;

export interface Table {
  /** file name without ending, kebab-case */
  readonly name: string;
  readonly html: Html;
  /** open and few columns: it fits next to a figure */
  readonly isCompact: boolean;
  /** RFC 4180, LF */
  readonly csv: string;
}

/** @param options.isFolded shown only when opened: tables longer than a screen. */
export function makeTable<Row>(options: {
  readonly name: string;
  readonly title: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly isFolded?: boolean;
}): Table {
  const { name, title, columns, rows, isFolded = false } = options;
  const values = rows.map((row) => columns.map((column) => column.value(row)));
  const isNumeric = columns.map((_, index) =>
    values.every((line) => line[index] === null || typeof line[index] === 'number'),
  );
  const align = (index: number): string => (isNumeric[index] ? 'number' : 'text');
  const body = html`<div class="scroll" tabindex="0" role="region" aria-label="${title}"><table>
<thead><tr>${columns.map((column, index) => html`<th scope="col" class="${align(index)}">${column.label}</th>`)}</tr></thead>
<tbody>${rows.map(
    (row, line) => html`<tr>${columns.map((column, index) => {
      const value = (values[line] as CellValue[])[index] as CellValue;
      const shown = value === null ? '–' : (column.show?.(row) ?? String(value));
      return html`<td class="${align(index)}">${shown}</td>`;
    })}</tr>
`,
  )}</tbody></table></div>`;
  return {
    name,
    isCompact: !isFolded && columns.length <= MAX_COMPACT_COLUMNS,
    html: isFolded
      ? html`<details class="table"><summary>${title} (${rows.length} rows)</summary>${body}</details>`
      : html`<div class="table"><h3>${title}</h3>${body}</div>`,
    csv: formatCsv([columns.map((column) => column.label), ...values]),
  };
}

/** Lines of RFC 4180 with LF; null is an empty field. */
export function formatCsv(rows: readonly (readonly CellValue[])[]): string {
  const field = (value: CellValue): string => {
    const text = value === null ? '' : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${rows.map((row) => row.map(field).join(',')).join('\n')}\n`;
}
