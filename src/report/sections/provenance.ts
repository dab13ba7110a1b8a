// How to make the run again: the exact command, settings that decide the numbers, hashes, engine and machine.
import type { JsonRecord, JsonValue } from '../../formats/read-json.ts';
import { html } from '../html.ts';
import type { RunData } from '../run-data.ts';
import { makeTable } from '../table.ts';
import type { SectionResult } from './section.ts';

export function buildProvenanceSection(data: RunData): SectionResult {
  const { run } = data;
  const title = 'How it was made';
  if (!run) return { title, reason: 'no run.json', command: `duo identify --model <dir> --out ${data.name}` };
  const facts: [string, string][] = [
    ['status', run.error === null ? run.status : `${run.status}: ${run.error}`],
    ['started', run.startedAt],
    ['ended', run.endedAt ?? '–'],
    ['resumes', String(run.resumes)],
    ['engine', `${run.engine.name} on ${run.engine.device}`],
    ...flatten('inputs', run.inputs),
    ...flatten('versions', run.versions),
    ...flatten('host', run.host),
  ];
  const identity = flatten('', run.identity);
  const columns = [
    { label: 'key', value: ([key]: [string, string]) => key },
    { label: 'value', value: ([, value]: [string, string]) => value },
  ];
  return {
    id: 'provenance',
    title,
    figures: [],
    tables: [
      makeTable({ name: 'run', title: 'Run', rows: facts, columns }),
      makeTable({ name: 'settings', title: 'What decides the numbers', rows: identity, columns, isFolded: true }),
    ],
    more: html`<h3>Command</h3><pre tabindex="0"><code>${formatCommand(run.command)}</code></pre>`,
  };
}

/** A command line for a POSIX shell; arguments are quoted where they need it. */
export function formatCommand(command: readonly string[]): string {
  return command
    .map((argument) => (/^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`))
    .join(' ');
}

/** Leaves of a record with dotted keys; lists as JSON. */
function flatten(prefix: string, record: JsonRecord): [string, string][] {
  return Object.entries(record).flatMap(([key, value]): [string, string][] => {
    const place = prefix === '' ? key : `${prefix}.${key}`;
    if (isRecord(value)) return flatten(place, value);
    return [[place, typeof value === 'string' ? value : JSON.stringify(value)]];
  });
}

function isRecord(value: JsonValue): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
