// A resumed run keeps the engine and device of its record, unless others are named: a machine that has gained or lost a GPU since then
// would otherwise compute other numbers.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ENGINE_NAMES, type EngineChoice } from '../src/engine/open-engine.ts';
import { readRun } from '../src/formats/run.ts';
import type { IdentifyOptions } from './options.ts';

/** The engine of the run that `options` continue; nothing where they name one, or where there is no record yet. */
export function findResumedEngine(options: IdentifyOptions): Pick<EngineChoice, 'engine' | 'device'> {
  const { out, resume, join: joins, engine, device, backend, threads } = options;
  const isAsked = [engine, device, backend, threads].some((value) => value !== undefined);
  if (!(resume || joins) || out === undefined || isAsked || !existsSync(join(out, 'run.json'))) return {};
  const record = readRun(join(out, 'run.json')).engine;
  const name = ENGINE_NAMES.find((known) => known === record.name);
  if (name !== 'native') return name === undefined ? {} : { engine: name };
  // A native engine's device begins with the name of one: `cuda:0 NVIDIA H100 …`, `cpu avx512`.
  return { engine: name, device: record.device.split(' ')[0] };
}
