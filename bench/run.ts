// `npm run bench` lists the benches; `npm run bench -- <name> [flags]` runs one. Each checks its result before it times it, prints a table, and
// writes bench/results/<date>-<machine>/<name>.json (or into --out <dir>).
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Bench } from './bench.ts';
import { writeRecord } from './record.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
/** Modules of this folder that are no bench. */
const PARTS = ['run.ts', 'bench.ts', 'record.ts', 'plot.ts', 'sessions.ts', 'gguf.ts', 'llama-peer.ts'];

const [name, ...values] = process.argv.slice(2);
const names = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.ts') && !PARTS.includes(file))
  .map((file) => file.slice(0, -3));

if (name === undefined) {
  for (const each of names) {
    const { about, flags } = await load(each);
    console.log(`${each}: ${about}`);
    for (const [flag, meaning] of Object.entries(flags))
      console.log(`    --${flag} ${meaning.default}  ${meaning.about}`);
  }
} else if (!names.includes(name)) {
  console.error(`Expected a bench among ${names.join(', ')}, got \`${name}\`.`);
  process.exitCode = 2;
} else {
  const bench = await load(name);
  const options = Object.fromEntries(
    Object.entries({ ...bench.flags, out: { default: '' } }).map(([flag, meaning]) => [
      flag,
      { type: 'string' as const, default: meaning.default },
    ]),
  );
  const { values: flags } = parseArgs({ args: values, options });
  const given = flags as Record<string, string>;
  const result = await bench.run(given);
  console.log(result.table);
  console.log(`written: ${writeRecord(name, { flags: given, result })}`);
}

async function load(each: string): Promise<Bench> {
  return (await import(`./${each}.ts`)).bench as Bench;
}
