// Ends code that never would by itself, such as a regular expression of an untrusted tokenizer.json that backtracks without end: JavaScript
// cannot be interrupted from outside, but node:vm ends what runs inside of it after a time, regular expressions included. About 0.05 ms per call.
import { readFileSync } from 'node:fs';
import { createContext, Script } from 'node:vm';

const context: { work?: () => unknown } = createContext({});
const script = new Script('work()');

/** What `work` returns, or null where it needed more than `mostMs` of the processor; what it throws, this throws. Work that was ended is lost
 * halfway: what it wrote to must not be used again. Where other work, or Ctrl-Z, keeps it from the processor it begins anew with more time by
 * the clock, so `work` may run more than once.
 * @param mostMs an integer above 0. */
export function runWithin<T>(mostMs: number, work: () => T): { value: T } | null {
  for (let timeout = mostMs; ; timeout = Math.min(2 * timeout, 2 ** 31 - 1)) {
    const startMs = usedMs();
    const outer = context.work;
    context.work = work;
    try {
      return { value: script.runInContext(context as object, { timeout }) as T };
    } catch (error) {
      if ((error as { code?: unknown } | null)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      if (usedMs() - startMs >= mostMs) return null;
    } finally {
      if (outer === undefined) delete context.work;
      else context.work = outer;
    }
  }
}

/** Processor time of this thread, in ms; where the system does not report it, that of the whole process. */
function usedMs(): number {
  try {
    return Number.parseInt(readFileSync('/proc/thread-self/schedstat', 'utf8'), 10) / 1e6;
  } catch {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  }
}
