// What commands print: data on stdout, everything else on stderr; bars and colour only where a person is watching.
import { writeStdout } from './stdout.ts';

/** True where colour codes may be written to `stream`: a terminal, NO_COLOR unset, TERM not dumb. */
export function isColourful(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

/** One line for the person, on stderr. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** The command's result, on stdout. */
export function printResult(text: string): void {
  writeStdout(text.endsWith('\n') ? text : `${text}\n`);
}

/** One JSON document on stdout. */
export function printJson(value: unknown): void {
  writeStdout(`${JSON.stringify(value, null, 2)}\n`);
}

/** Bytes in binary units: 1536 → "1.5 KiB". */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

/** Seconds as "8 s", "3 min 20 s" or "2 h 5 min". */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** A share as "97.3 %". */
export function formatPercent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Rows as aligned columns; the first row is the header. Cells that look like numbers align right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  const isNumeric = (cell: string): boolean => /^[-+~±]?[\d.]/.test(cell);
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const alignRight = isNumeric(rows[1]?.[column] ?? '');
          return alignRight ? cell.padStart(widths[column] as number) : cell.padEnd(widths[column] as number);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
