// Where bench results go, and the machine they were measured on.
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, loadavg, platform, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BenchResult } from './bench.ts';

/** CPU, threads, memory, system and the load the machine was under: a busy machine's times are no promise. */
export function describeMachine(): Record<string, unknown> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    threads: availableParallelism(),
    memoryBytes: totalmem(),
    platform: platform(),
    arch: arch(),
    node: process.versions.node,
    loadAverage: loadavg().map((load) => Number(load.toFixed(2))),
  };
}

/** Write one bench's figures. @returns the path. */
export function writeRecord(name: string, run: { flags: Record<string, string>; result: BenchResult }): string {
  const date = new Date().toISOString();
  const machine = describeMachine();
  const { out, ...flags } = run.flags;
  const folder =
    out || join(fileURLToPath(new URL('results', import.meta.url)), `${date.slice(0, 10)}-${nameMachine()}`);
  mkdirSync(folder, { recursive: true });
  const command = `npm run bench -- ${name}${Object.entries(flags)
    .map(([flag, value]) => ` --${flag} ${value}`)
    .join('')}`;
  const path = join(folder, `${name}.json`);
  writeFileSync(path, `${JSON.stringify({ name, date, command, machine, figures: run.result.figures }, null, 2)}\n`);
  writeFileSync(join(folder, `${name}.txt`), `${command}\n\n${run.result.table}\n`);
  for (const [file, content] of Object.entries(run.result.files ?? {})) writeFileSync(join(folder, file), content);
  return path;
}

/** "intel-xeon-2x" */
function nameMachine(): string {
  const model = (cpus()[0]?.model ?? 'cpu').toLowerCase().replace(/\((r|tm)\)/g, '');
  const words = model.split(/[^a-z0-9]+/).filter((word) => !['', 'processor', 'cpu'].includes(word));
  return `${words.slice(0, 3).join('-')}-${availableParallelism()}x`;
}
