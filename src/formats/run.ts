// run.json: the record of one run: command, settings, engine, device, versions, input hashes, host, times and how it ended.
// The only file of a run folder that may name times, paths and hosts; what changes numbers is in `identity`.
import { z } from 'zod';
import { stableJson, writeFileAtomic } from './atomic-file.ts';
import { checkSchemaName } from './gates.ts';
import {
  checked,
  checkJson,
  exactly,
  isJsonValue,
  type JsonRecord,
  type JsonValue,
  jsonRecord,
  readJson,
  textUpTo,
} from './read-json.ts';

export const RUN_SCHEMA = 'duo.run';
export const RUN_VERSION = 1;
/** Settings, versions and a held-out table are a few KB. */
const MAX_RUN_BYTES = 16 * 2 ** 20;
const MAX_ARGUMENTS = 10_000;
const MAX_ARGUMENT_LENGTH = 2 ** 20;

/** running: at work, or killed; stopped: aborted after a checkpoint; failed: ended by an error. */
export type RunStatus = 'running' | 'done' | 'stopped' | 'failed';
const STATUSES: readonly RunStatus[] = ['running', 'done', 'stopped', 'failed'];

export interface RunFile {
  readonly schema: typeof RUN_SCHEMA;
  readonly version: typeof RUN_VERSION;
  readonly status: RunStatus;
  /** the command line's arguments, program name first */
  readonly command: readonly string[];
  /** all resulting settings, flags applied */
  readonly config: JsonRecord;
  /** what decides the numbers: settings, inputs by hash, engine, device with instruction set; a resume must agree with it */
  readonly identity: JsonRecord;
  readonly engine: {
    readonly name: string;
    readonly device: string;
    /** `host`: the weights of the layers were streamed from host memory, which changes no number; absent where the device had them */
    readonly weightsOn?: 'host' | undefined;
  };
  /** of duo, node and the packages that compute */
  readonly versions: JsonRecord;
  /** paths and hashes of what was read */
  readonly inputs: JsonRecord;
  /** cores, memory, platform */
  readonly host: JsonRecord;
  /** ISO 8601 */
  readonly startedAt: string;
  readonly endedAt: string | null;
  /** times a `--resume` continued it */
  readonly resumes: number;
  /** what the command found: steps, seconds, held-out rows */
  readonly results: JsonValue;
  /** the sentence of the error that ended it */
  readonly error: string | null;
}

const text = textUpTo(MAX_ARGUMENT_LENGTH);
const textOrNull = z.union([z.null(), text], { error: 'a text or null' });

const schema: z.ZodType<RunFile> = z.strictObject({
  schema: exactly(RUN_SCHEMA),
  version: exactly(RUN_VERSION),
  status: checked<RunStatus>((value) => STATUSES.includes(value as RunStatus), `one of ${STATUSES.join(', ')}`),
  command: z.array(text).max(MAX_ARGUMENTS),
  config: jsonRecord,
  identity: jsonRecord,
  engine: z.strictObject({ name: text, device: text, weightsOn: z.literal('host').optional() }),
  versions: jsonRecord,
  inputs: jsonRecord,
  host: jsonRecord,
  startedAt: text,
  endedAt: textOrNull,
  resumes: checked<number>((value) => Number.isInteger(value) && (value as number) >= 0, 'an integer of at least 0'),
  results: checked<JsonValue>(isJsonValue, 'a JSON value'),
  error: textOrNull,
});

/** Check an unknown value as a run record. @throws {FormatError} the first difference. */
export function checkRun(value: unknown, path: string): RunFile {
  checkSchemaName(value, { expected: RUN_SCHEMA, path });
  return checkJson(schema, { value, path });
}

/** Read run.json. @throws {FileError} absent; {FormatError} malformed. */
export function readRun(path: string): RunFile {
  return checkRun(readJson(path, MAX_RUN_BYTES), path);
}

/** Write run.json whole or not at all. @throws {FormatError} malformed value; {FileError}. */
export function writeRun(path: string, run: RunFile): void {
  writeFileAtomic(path, stableJson(checkRun(run, path)));
}
