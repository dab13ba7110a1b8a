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
