// Renders Jinja templates. One that is not known is untrusted and runs in a process of its own: it can loop for ever or ask for more memory
// than there is, and where JavaScript runs out of memory its whole process ends.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { Template } from '@huggingface/jinja';
import { AbortedError } from '../errors/errors.ts';
import { isPublishedTemplate } from './published-templates.ts';

/** Of the processor's time, so that a loaded machine fails no honest template: its own work is a few milliseconds. */
const RENDER_MS = 1000;
/** A loaded machine is slow to start a process, which is not the template's fault. */
const START_MS = 60_000;
const HEAP_MIB = 512;
/** The longest context that duo knows has 8 Mi tokens, of about four characters each. */
const MAX_CHARACTERS = 2 ** 25;

/** What a template is given: texts, numbers, true or false, lists and objects of them. */
export type TemplateVariables = Readonly<Record<string, unknown>>;

/** The rendered text, or the reason why there is none, as the end of a sentence. */
export type Rendering = { readonly text: string } | { readonly failure: string };

/** What the other process runs. It ends itself where a template takes too long, also when this process is no more. */
const CHILD = `
const [, jinja, mostMs, mostCharacters] = process.argv;
const { Template } = require(jinja);
const { readFileSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');
const job = new Script('render()');
const usedMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const renderings = JSON.parse(readFileSync(0, 'utf8')).map(({ template, variables }) => {
  globalThis.render = () => new Template(template).render(variables);
  // node:vm measures by the clock: what it ended before its share of the processor was used up is tried again with more.
  for (let timeout = Number(mostMs); ; timeout *= 2) {
    const startMs = usedMs();
    try {
      const text = job.runInThisContext({ timeout });
      return text.length > Number(mostCharacters) ? { failure: 'it made more than ' + mostCharacters + ' characters' } : { text };
    } catch (error) {
      if (error.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') return { failure: error.message };
      if (usedMs() - startMs >= Number(mostMs)) return { failure: 'it was not done after ' + mostMs / 1000 + ' s' };
    }
  }
});
writeFileSync(1, JSON.stringify(renderings));
`;

/** Render a template. A published one is rendered at once, any other in its own process, within a second of processor time and 512 MiB, about 0.06 s later (on an idle machine); the text is the same.
 * @throws {AbortedError} a signal to stop reached the other process. */
export function renderTemplate(template: string, variables: TemplateVariables): Rendering {
  return isPublishedTemplate(template) ? renderHere(template, variables) : renderApart([{ template, variables }])[0]!;
}

function renderHere(template: string, variables: TemplateVariables): Rendering {
  try {
    return { text: new Template(template).render(variables) };
  } catch (error) {
    return { failure: (error as Error).message };
  }
}

/** Render one after another in one other process; where one of them ends that process, all have failed.
 * @throws {AbortedError} as above. */
export function renderApart(jobs: readonly { template: string; variables: TemplateVariables }[]): Rendering[] {
  const fail = (failure: string): Rendering[] => jobs.map(() => ({ failure }));
  const mostMs = 4 * RENDER_MS * jobs.length + START_MS;
  const jinja = createRequire(import.meta.url).resolve('@huggingface/jinja');
  const { status, stdout, error, signal } = spawnSync(
    process.execPath,
    [`--max-old-space-size=${HEAP_MIB}`, '--eval', CHILD, jinja, String(RENDER_MS), String(MAX_CHARACTERS)],
    {
      input: JSON.stringify(jobs),
      encoding: 'utf8',
      timeout: mostMs,
      killSignal: 'SIGKILL',
      maxBuffer: Infinity,
    },
  );
  if (status === 0) return JSON.parse(stdout) as Rendering[];
  // Ctrl-C reaches every process of a terminal.
  if (signal === 'SIGINT' || signal === 'SIGTERM' || signal === 'SIGHUP') {
    throw new AbortedError(`${signal} stopped the rendering of the chat template.`);
  }
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT') {
    return fail(`it was not done after ${mostMs / 1000} s`);
  }
  if (error !== undefined) return fail(`${process.execPath} could not be started for it: ${error.message}`);
  return fail(`it needed more than ${HEAP_MIB} MiB of memory (its process ended by ${signal ?? `code ${status}`})`);
}
