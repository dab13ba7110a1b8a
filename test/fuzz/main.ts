// `npm run fuzz -- [--inputs n] [--seed n] [--reader name] [--from n]`: damaged inputs through every reader, a process each, started anew after
// an input that ended it or kept it. Prints a line a reader, and every finding with what repeats it. Exit code 1 where there is one.
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { READERS, type Reader } from './readers.ts';
import { type Finding, makeInput, type Outcome, runInputs } from './run-inputs.ts';

/** Named bound on the JavaScript memory of a reader's process. */
const HEAP_MIB = 1024;
/** An input that keeps its reader as long has stopped it; the reader's own limits end before. */
const STUCK_MS = 20_000;

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    reader: { type: 'string', multiple: true },
    child: { type: 'string' },
  },
});
const settings = { seed: Number(values.seed), from: Number(values.from), inputs: Number(values.inputs) };
const chosen = READERS.filter(({ name }) => values.reader?.includes(name) ?? true);
if (chosen.length === 0 || Object.values(settings).some((value) => !Number.isSafeInteger(value) || value < 0)) {
  console.error(
    `fuzz: Expected whole numbers, and --reader among ${READERS.map(({ name }) => `"${name}"`).join(', ')}.`,
  );
  process.exit(2);
}

if (values.child !== undefined) await runChild(chosen[0] as Reader, values.child);
else process.exitCode = await runAll();

/** Writes its place to the file before every input, and its outcome to standard output. */
async function runChild(reader: Reader, folder: string): Promise<void> {
  const place = openSync(join(folder, 'place'), 'w');
  const bytes = Buffer.alloc(8);
  const onInput = (index: number): void => {
    bytes.writeDoubleLE(index);
    writeSync(place, bytes, 0, 8, 0);
  };
  const outcome = await runInputs(reader, { ...settings, folder: join(folder, 'files'), onInput });
  process.stdout.write(JSON.stringify(outcome));
}

async function runAll(): Promise<number> {
  let numFindings = 0;
  for (const reader of chosen) {
    const startMs = performance.now();
    const { outcome, findings } = await runReader(reader);
    const { read, limited, slowestMs } = outcome;
    const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
    console.log(
      `${reader.name}: ${settings.inputs} inputs in ${seconds} s, ${read} read, ${settings.inputs - read} refused (${limited} by limits), slowest ${slowestMs.toFixed(0)} ms, ${findings.length} findings`,
    );
    for (const { index, what } of findings) {
      const path = join(tmpdir(), `duo-fuzz-${reader.name.replaceAll(/[^a-z.]/gi, '-')}-${index}`);
      writeFileSync(path, makeInput(reader, { seed: settings.seed, index }));
      console.log(
        `  ${what.split('\n').slice(0, 6).join('\n    ')}\n    --reader "${reader.name}" --seed ${settings.seed} --from ${index} --inputs 1 (${path})`,
      );
    }
    numFindings += findings.length;
  }
  return numFindings === 0 ? 0 : 1;
}

async function runReader(reader: Reader): Promise<{ outcome: Outcome; findings: Finding[] }> {
  const { seed, inputs } = settings;
  const sum = { inputs, read: 0, limited: 0, slowestMs: 0 };
  const findings: Finding[] = [];
  const end = settings.from + inputs;
  for (let from = settings.from; from < end; ) {
    const { outcome, place, reason } = await runProcess(reader, { from, inputs: end - from });
    if (outcome === null) {
      // What was found before this place is found again by a run up to it.
      if (place > from)
        findings.push(...((await runProcess(reader, { from, inputs: place - from })).outcome?.findings ?? []));
      findings.push({ reader: reader.name, seed, index: place, what: reason });
      from = place + 1;
    } else {
      sum.read += outcome.read;
      sum.limited += outcome.limited;
      sum.slowestMs = Math.max(sum.slowestMs, outcome.slowestMs);
      findings.push(...outcome.findings);
      from = end;
    }
  }
  return { outcome: { ...sum, findings }, findings };
}

/** @returns no outcome where the process ended early: the input at its place, and the reason. */
function runProcess(
  reader: Reader,
  range: { from: number; inputs: number },
): Promise<{ outcome: Outcome | null; place: number; reason: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'duo-fuzz-'));
  const flags = [
    '--reader',
    reader.name,
    '--seed',
    `${settings.seed}`,
    '--from',
    `${range.from}`,
    '--inputs',
    `${range.inputs}`,
  ];
  const script = fileURLToPath(import.meta.url);
  const child = spawn(
    process.execPath,
    [`--max-old-space-size=${HEAP_MIB}`, '--import', 'tsx', script, '--child', folder, ...flags],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => {
    stdout += data;
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr = (stderr + data).slice(-2000);
  });
  let lastPlace = -1;
  let sinceMs = performance.now();
  let isStuck = false;
  const watch = setInterval(() => {
    const place = readPlace(folder) ?? -1;
    if (place !== lastPlace) {
      lastPlace = place;
      sinceMs = performance.now();
    } else if (performance.now() - sinceMs > STUCK_MS && reader.readMany === undefined) {
      isStuck = true;
      child.kill('SIGKILL');
    }
  }, 1000);
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearInterval(watch);
      const place = readPlace(folder) ?? range.from;
      rmSync(folder, { recursive: true, force: true });
      const outcome = code === 0 ? (JSON.parse(stdout) as Outcome) : null;
      const reason = isStuck
        ? `kept its process for ${STUCK_MS / 1000} s`
        : `ended its process (${signal ?? code}): ${stderr}`;
      resolve({ outcome, place, reason });
    });
  });
}

function readPlace(folder: string): number | null {
  try {
    const file = openSync(join(folder, 'place'), 'r');
    const bytes = Buffer.alloc(8);
    const length = readSync(file, bytes, 0, 8, 0);
    closeSync(file);
    return length === 8 ? bytes.readDoubleLE() : null;
  } catch {
    return null;
  }
}
