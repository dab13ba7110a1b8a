// What a command may write over: a new path, an empty file, an older file of the same kind. Never a file that the same command reads,
// nor one of a model; a file of another kind only with --overwrite.
import { closeSync, openSync, readdirSync, readSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { ConfigError } from '../errors/errors.ts';
import { GATES_SCHEMA } from '../formats/gates.ts';
import { MASK_SCHEMA } from '../formats/mask.ts';
import { isReplacedWhole, STDOUT_PATH } from '../formats/output.ts';
import { RUN_SCHEMA } from '../formats/run.ts';
import { SAMPLES_SCHEMA } from '../formats/samples.ts';

/** A kind of file by its beginning. */
const KINDS = {
  mask: { name: 'a mask', schema: MASK_SCHEMA },
  gates: { name: 'gates', schema: GATES_SCHEMA },
  run: { name: 'the record of a run', schema: RUN_SCHEMA },
  results: { name: 'results', schema: 'duo.results' },
  'samples-meta': { name: 'the provenance of samples', schema: SAMPLES_SCHEMA },
  samples: { name: 'samples', start: /^\s*\{(?=.*"tokens"\s*:)(?=.*"answers"\s*:|.{3000})/s },
  pattern: { name: 'a pattern of heads', start: /^[-+\d.eE\t \n]+$/ },
  'pattern-config': { name: "a pattern's settings", start: /"sink_size"\s*:/ },
  'results-table': { name: 'a table of results', start: /^task,/ },
  page: { name: 'a report', start: /^<!doctype html>[\s\S]*duo report/ },
} as const satisfies Record<string, { name: string } & ({ schema: string } | { start: RegExp })>;

export type OutputKind = keyof typeof KINDS;

/** Enough of a file to know its kind. */
const HEAD_BYTES = 4096;
/** Files that belong to a model if its weights are in the same folder. */
const MODEL_FILES = new Set([
  'added_tokens.json',
  'chat_template.jinja',
  'config.json',
  'generation_config.json',
  'merges.txt',
  'model.safetensors.index.json',
  'special_tokens_map.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'vocab.json',
]);
const WEIGHTS = /\.(safetensors|gguf|bin|pt|pth)$/i;

/** Refuse an output that would destroy something, before anything is computed.
 * @param options.kind what will be written.  @param options.inputs files that the command reads; absent ones are left out.
 * @param options.overwrite --overwrite was given; `null` where the command has no such flag.
 * @throws {ConfigError} naming what is there and what to do. */
export function checkOutput(
  path: string,
  options: { kind: OutputKind; inputs: readonly (string | undefined)[]; overwrite: boolean | null; flag?: string },
): void {
  const { kind, inputs, overwrite, flag = '--out' } = options;
  if (!isReplacedWhole(path)) return;
  const found = statSync(path, { throwIfNoEntry: false });
  const input = inputs.find((name) => name !== undefined && found !== undefined && isSameFile(name, found));
  if (input !== undefined) {
    throw new ConfigError(`Expected ${flag} to be no input of the same command, got \`${path}\`; name another file.`);
  }
  if (isModelFile(path)) {
    throw new ConfigError(
      `Expected ${flag} to be no file of a model, got \`${path}\`, which is next to weights or is their config.json; name another file.`,
    );
  }
  if (found === undefined || found.size === 0) return;
  const actual = findKind(path);
  if (actual === kind || overwrite === true) return;
  const words = actual === null ? 'something else' : KINDS[actual].name;
  throw new ConfigError(
    `Expected ${flag} to name a new file or ${KINDS[kind].name}, found ${words} at ${path}; name another file${overwrite === null ? '' : ', or pass --overwrite to replace it'}.`,
  );
}

/** Refuse what is no folder where one is written: `-`, a file, a pipe, a device. @throws {ConfigError}. */
export function checkOutputFolder(path: string, flag = '--out'): void {
  if (path === STDOUT_PATH) {
    throw new ConfigError(`Expected ${flag} to name a folder, got \`-\`, which is standard output.`);
  }
  const found = findStats(path);
  if (found === undefined || found.isDirectory()) return;
  const kind = found.isFile() ? 'a file' : 'a pipe, a device or a socket';
  throw new ConfigError(`Expected ${flag} to name a folder, found ${kind} at ${path}; name another folder.`);
}

/** What is there; nothing where a part of the path is a file, or may not be entered. */
function findStats(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** Refuse `-` together with --json: both would print on standard output. @throws {ConfigError}. */
export function checkStdoutIsFree(path: string, flags: { readonly json?: boolean }): void {
  if (path !== STDOUT_PATH || !flags.json) return;
  throw new ConfigError('Expected --out - or --json, got both; each prints a document on standard output.');
}

/** `path` as a sentence names it. */
export function nameOutput(path: string): string {
  return path === STDOUT_PATH ? 'standard output' : path;
}

function isSameFile(name: string, found: Stats): boolean {
  const other = findStats(name);
  return other !== undefined && other.dev === found.dev && other.ino === found.ino;
}

/** True for weights, and for the model files next to them; for a config.json also where it describes a model without weights. */
function isModelFile(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined && WEIGHTS.test(path)) return true;
  const name = basename(path);
  if (!MODEL_FILES.has(name)) return false;
  const isBesideWeights = listNames(dirname(resolve(path))).some((other) => WEIGHTS.test(other));
  return isBesideWeights || (found !== undefined && /"(model_type|architectures)"\s*:/.test(readHead(path)));
}

function listNames(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The kind of a regular file; null for one that duo does not write. */
function findKind(path: string): OutputKind | null {
  const head = readHead(path);
  const [, schema] = /^\s*\{\s*"schema"\s*:\s*"([^"]*)"/.exec(head) ?? [];
  for (const kind of Object.keys(KINDS) as OutputKind[]) {
    const known: { schema?: string; start?: RegExp } = KINDS[kind];
    if (schema === undefined ? known.start?.test(head) : known.schema === schema) return kind;
  }
  return null;
}

function readHead(path: string): string {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return '';
  }
  try {
    const bytes = Buffer.alloc(HEAD_BYTES);
    return bytes.subarray(0, readSync(file, bytes, 0, HEAD_BYTES, 0)).toString('utf8');
  } finally {
    closeSync(file);
  }
}
