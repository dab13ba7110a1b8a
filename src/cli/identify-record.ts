// The record of an identify run: what run.json says of its settings, inputs, engine and host, and what gates.json says of its origin.
import { cpus, totalmem } from 'node:os';
import { resolve } from 'node:path';
import type { Config } from '../config/config.ts';
import type { Engine } from '../engine/engine.ts';
import type { JsonRecord } from '../formats/read-json.ts';
import { type RunFile, readRun } from '../formats/run.ts';
import type { ModelFolder } from '../model/folder.ts';
import type { SampleSource } from './sample-source.ts';
import { readVersion } from './version.ts';

/** What the record is made from. */
export interface RecordParts {
  readonly config: Config;
  /** what fitting changed of the preset, as clauses */
  readonly fitted: readonly string[];
  readonly engine: Engine;
  readonly folder: ModelFolder;
  readonly source: SampleSource;
  readonly heldOutPath: string | undefined;
}

/** What decides the numbers; a resume must agree with it. */
export function describeIdentity({ config, engine, folder, source }: RecordParts): JsonRecord {
  return {
    tool: `duo ${readVersion()}`,
    method: config.method,
    model: folder.fingerprint,
    samples: source.hash,
    engine: engine.name,
    device: engine.device,
    seed: config.seed,
    config: pickNumberSettings(config),
  };
}

/** The provenance of gates.json and mask.json: no device, time, path or host. */
export function describeProvenance({ config, engine, source }: RecordParts): JsonRecord {
  return {
    tool: `duo ${readVersion()}`,
    engine: engine.name,
    config: pickNumberSettings(config),
    seed: config.seed,
    samples: source.hash,
  };
}

/** run.json at the start of a run; of one that is resumed, `previousPath` names the record it continues. */
export function startRecord(
  parts: RecordParts,
  options: { previousPath: string | null; identity: JsonRecord },
): RunFile {
  const { config, engine, source, folder } = parts;
  const before = options.previousPath === null ? null : readPreviousRecord(options.previousPath);
  return {
    schema: 'duo.run',
    version: 1,
    status: 'running',
    command: ['duo', ...process.argv.slice(2)],
    config: config as unknown as JsonRecord,
    identity: options.identity,
    engine: { name: engine.name, device: engine.device },
    versions: { duo: readVersion(), node: process.versions.node },
    inputs: {
      model: resolve(folder.path),
      fingerprint: folder.fingerprint,
      heldOut: parts.heldOutPath ?? null,
      ...source.inputs,
      fitted: [...parts.fitted],
    },
    host: {
      platform: `${process.platform}-${process.arch}`,
      cpu: cpus()[0]?.model ?? '',
      cores: cpus().length,
      memoryBytes: totalmem(),
    },
    startedAt: before?.startedAt ?? new Date().toISOString(),
    endedAt: null,
    resumes: before === null ? 0 : before.resumes + 1,
    results: null,
    error: null,
  };
}

/** The settings that change the gates or the mask: all but when to save and what the closing table shows. */
function pickNumberSettings(config: Config): JsonRecord {
  const { checkpointEvery: _, heldOutSamples: __, heldOutLengthFactor: ___, ...rest } = config;
  return rest as unknown as JsonRecord;
}

function readPreviousRecord(path: string): RunFile | null {
  try {
    return readRun(path);
  } catch {
    return null; // the kill came before the first record was whole; the checkpoint, if any, still counts
  }
}
