// `duo eval --join`: several processes in one folder. Cells are divided by their claims whether or not they were asked to; what this adds is
// the promise that all of them compute the same table, so that results.json does not depend on who writes it last.
import { createHash } from 'node:crypto';
import { existsSync, linkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { findIdentityDifference, showIdentityValue } from '../../train/run-identity.ts';
import { readVersion } from '../core/package.ts';
import { processName } from '../core/process-life.ts';
import type { Engine } from '../engine/engine.ts';
import { ConfigError } from '../errors/errors.ts';
import type { NamedMask } from '../eval/baselines.ts';
import { fileErrorOf, stableJson, writeFileAtomic } from '../formats/atomic-file.ts';
import { checkJson, exactly, type JsonRecord, jsonRecord, readJson } from '../formats/read-json.ts';
import type { ModelFolder } from '../model/folder.ts';

const FILE = 'joined.json';
const MAX_BYTES = 16 * 2 ** 20;
/** Flags that change no row: where and how fast it is computed. */
const FREE_FLAGS = [
  'out',
  'join',
  'json',
  'concurrent',
  'threads',
  'progress',
  'device',
  'engine',
  'backend',
  'model',
  'debug',
];

const schema = z.strictObject({ schema: exactly('duo.joined-eval'), version: exactly(1), identity: jsonRecord });

/** Enter the evaluation of `out`, or start it: the first process writes its identity.
 * @throws {ConfigError} another evaluation is there; {FileError}. */
export function joinEvaluation(
  out: string,
  parts: { flags: object; folder: ModelFolder; engine: Engine; masks: readonly NamedMask[] },
): void {
  const identity = describeEvaluation(parts);
  const path = join(out, FILE);
  if (!existsSync(path)) {
    const own = `${path}.${processName()}`;
    writeFileAtomic(own, stableJson({ schema: 'duo.joined-eval', version: 1, identity }));
    try {
      linkSync(own, path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw fileErrorOf('write', path, cause);
    } finally {
      rmSync(own, { force: true });
    }
  }
  const found = checkJson(schema, { value: readJson(path, MAX_BYTES), path });
  const difference = findIdentityDifference(found.identity, identity);
  if (difference === null) return;
  const { key, before, now } = difference;
  throw new ConfigError(
    `Expected --join to meet the same evaluation in ${out}, but there \`${key}\` is \`${showIdentityValue(before)}\` and here \`${showIdentityValue(now)}\`; use the same, or another --out.`,
  );
}

function describeEvaluation({ flags, folder, engine, masks }: Parameters<typeof joinEvaluation>[1]): JsonRecord {
  const given = Object.entries(flags).filter(([name, value]) => !FREE_FLAGS.includes(name) && value !== undefined);
  const hash = createHash('sha256').update(JSON.stringify(masks)).digest('hex');
  return {
    tool: `duo ${readVersion()}`,
    model: folder.fingerprint,
    engine: engine.name,
    device: engine.device,
    masks: `sha256:${hash}`,
    flags: Object.fromEntries(given) as JsonRecord,
  };
}
