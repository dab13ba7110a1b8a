// Runs a command line in this process, for what is refused or answered before an engine opens: a child would cost a second each.
import { main } from '../../../src/cli/main.ts';

export interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Run `duo` with these arguments; one at a time. */
export async function answerOf(...args: string[]): Promise<Answer> {
  const written = { stdout: '', stderr: '' };
  const before = process.exitCode;
  const { write: writeOut } = process.stdout;
  const { write: writeError } = process.stderr;
  const capture = (name: 'stdout' | 'stderr') =>
    ((text: string, done?: () => void) => {
      written[name] += text;
      if (typeof done === 'function') done();
      return true;
    }) as typeof process.stdout.write;
  process.stdout.write = capture('stdout');
  process.stderr.write = capture('stderr');
  process.exitCode = 0;
  try {
    await main(['node', 'duo', ...args]);
    return { code: Number(process.exitCode ?? 0), ...written };
  } finally {
    process.stdout.write = writeOut;
    process.stderr.write = writeError;
    process.exitCode = before;
  }
}
