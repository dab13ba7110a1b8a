// The record of an identify run: what run.json says of its settings, inputs, engine and host, and what gates.json says of its origin.
import { cpus, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { pickPasskeySettings } from '../data-gen/passkey.ts';
import type { Config } from '../src/config/config.ts';
import { readVersion } from '../src/core/package.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import { type RunFile, readRun } from '../src/formats/run.ts';
import { pickLongRangeSettings } from './long-range-source.ts';
import type { Parts } from './parts.ts';

/** What decides the numbers; a resume must agree with it. */
export function describeIdentity({ config, engine, folder, source }: Parts): JsonRecord {
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
export function describeProvenance({ config, engine, source }: Parts): JsonRecord {
  return {
    tool: `duo ${readVersion()}`,
    engine: engine.name,
    config: pickNumberSettings(config),
    seed: config.seed,
    samples: source.hash,
  };
}

/** The settings that generated samples are made by. */
export function describeSampleSettings({ config }: Parts): JsonRecord {
  const { seed, objective } = config;
  return {
    seed,
    objective,
    ...(pickPasskeySettings(config) as unknown as JsonRecord),
    ...pickLongRangeSettings(config),
  };
}

/** run.json at the start of a run; for a resumed run, `previousPath` names the record it continues. */
export function startRecord(parts: Parts, run: { previousPath: string | null; identity: JsonRecord }): RunFile {
  const { config, engine, source, folder, options } = parts;
  const before = run.previousPath === null ? null : readPreviousRecord(run.previousPath);
  return {
    schema: 'duo.run',
    version: 1,
    status: 'running',
    command: options.command ?? [],
    config: config as unknown as JsonRecord,
    identity: run.identity,
    engine: { name: engine.name, device: engine.device, ...(engine.streamed?.() && { weightsOn: 'host' as const }) },
    versions: { duo: readVersion(), node: process.versions.node },
    inputs: {
      model: resolve(folder.path),
      fingerprint: folder.fingerprint,
      heldOut: typeof options.heldOut === 'string' ? options.heldOut : null,
      ...(options.documents !== undefined && { documents: options.documents }),
      ...(options.heldOutDocuments !== undefined && { heldOutDocuments: options.heldOutDocuments }),
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
