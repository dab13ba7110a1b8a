// Programs that a script stands on: run with their output taken, or the script ends with one sentence and exit code 1.
import { execFileSync } from 'node:child_process';

/** @param script whose name the sentence begins with.
 * @returns `fail(sentence)`, which ends the process, and `run(program, values, options)`, which gives what the program printed. */
export function makeRunner(script, defaults = {}) {
  const fail = (sentence) => {
    console.error(`${script}: ${sentence}`);
    process.exit(1);
  };
  const run = (program, values, options = {}) => {
    try {
      return execFileSync(program, values, {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
        ...defaults,
        ...options,
      });
    } catch (error) {
      return fail(`\`${[program, ...values].join(' ')}\` failed: ${error.message.split('\n')[0]}.`);
    }
  };
  return { fail, run };
}
