// Runs duo commands as steps of a long comparison: a step whose result is there is not run again, several run side by side, each is
// timed, and none begins once the budget is spent; what runs then is stopped and begins again in the next call.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** A step.
 * @typedef {object} Step
 * @property {string} name  path-like; its output is <out>/<name>.json, what it said <out>/<name>.log
 * @property {string[]} args  of duo
 * @property {string} result  file whose presence says that the step is done
 * @property {string[]} needs  files that must be there before it can begin */

/** Run steps in their order, as their needs and `jobs` allow.
 * @param {Step[]} steps
 * @param {{duo: string, jobs: number, budgetSeconds: number, say: (line: string) => void}} options duo: path of bin/duo.js
 * @returns {Promise<{done: string[], failed: string[], left: string[]}>} names; left: not begun, stopped, or in want of a failed one's result. */
export async function runSteps(steps, { duo, jobs, budgetSeconds, say }) {
  const startMs = performance.now();
  const elapsed = () => (performance.now() - startMs) / 1000;
  const waiting = steps.filter((step) => !existsSync(step.result));
  const running = new Map();
  const found = { done: [], failed: [], left: [] };
  const begin = (step) => {
    const child = startDuo(step, duo);
    running.set(
      step,
      child.then((end) => {
        running.delete(step);
        const words = { done: 'done   ', failed: 'FAILED ', left: 'stopped' }[end.as];
        say(`${words} ${step.name} (${end.seconds.toFixed(1)} s, at ${elapsed().toFixed(0)} s)`);
        if (end.as === 'failed') say(end.lastWords);
        found[end.as].push(step.name);
      }),
    );
    step.stop = child.stop;
  };
  const timer = setTimeout(() => {
    for (const step of running.keys()) step.stop();
  }, budgetSeconds * 1000);
  try {
    while (true) {
      while (running.size < jobs && elapsed() < budgetSeconds) {
        const index = waiting.findIndex((step) => step.needs.every((path) => existsSync(path)));
        if (index < 0) break;
        begin(waiting.splice(index, 1)[0]);
      }
      if (running.size === 0) break;
      await Promise.race(running.values());
    }
  } finally {
    clearTimeout(timer);
  }
  found.left.push(...waiting.map((step) => step.name));
  return found;
}

/** Start one command; its standard output is kept once it ended well. */
function startDuo({ name, args, output, log, result }, duo) {
  for (const path of [output, log, result]) mkdirSync(dirname(path), { recursive: true });
  const startMs = performance.now();
  const child = spawn(process.execPath, [duo, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) {
    child[stream].setEncoding('utf8').on('data', (part) => {
      text[stream] += part;
    });
  }
  let isStopped = false;
  const ended = new Promise((resolve) => {
    child.on('close', (code, signal) => {
      const seconds = (performance.now() - startMs) / 1000;
      writeFileSync(
        log,
        `duo ${args.join(' ')}\n${text.stderr}\nexit code ${code ?? signal}, ${seconds.toFixed(1)} s\n`,
      );
      const as = code === 0 ? 'done' : isStopped ? 'left' : 'failed';
      if (as === 'done') {
        writeFileSync(`${output}.part`, text.stdout);
        renameSync(`${output}.part`, output);
      }
      resolve({ as, name, seconds, lastWords: text.stderr.trim().split('\n').slice(-3).join('\n') });
    });
  });
  ended.stop = () => {
    isStopped = true;
    child.kill('SIGTERM');
  };
  return ended;
}
