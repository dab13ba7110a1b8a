// How sessions keep keys and values: the flags that run, eval and bench share, and the words for them.
import { type Command, Option } from 'commander';
import { isQuantizedKv, KV_DTYPES, type KvDtype } from '../core/session.ts';
import { ConfigError } from '../errors/errors.ts';
import { readChoiceFlag } from './numbers.ts';

export interface KvFlags {
  readonly kvDtype?: string;
  readonly kvRotation?: string;
}

/** What SessionOptions takes. `kvRotation` is there for quantised storage only. */
export interface KvStorage {
  readonly kvDtype?: KvDtype;
  readonly kvRotation?: boolean;
}

const QUANTIZED = KV_DTYPES.filter(isQuantizedKv);

/** @param fallback the dtype without --kv-dtype; none: the engine's. */
export function addKvOptions(command: Command, fallback?: KvDtype): Command {
  const dtype = new Option('--kv-dtype <dtype>', `store the cache as ${KV_DTYPES.join(', ')}`);
  if (fallback === undefined) dtype.default(undefined, 'as the engine does');
  else dtype.default(fallback);
  const rotation = new Option(
    '--kv-rotation <use>',
    `${QUANTIZED.join(', ')}: round keys and values after a Walsh–Hadamard transform of each head, on or off`,
  );
  return command.addOption(dtype).addOption(rotation.default(undefined, 'on'));
}

/** @throws {ConfigError} a name that is none, or --kv-rotation for a storage that is not quantised. */
export function readKvFlags(flags: KvFlags): KvStorage {
  const { kvDtype: dtypeText, kvRotation: rotationText } = flags;
  const kvDtype =
    dtypeText === undefined ? undefined : readChoiceFlag('--kv-dtype', { text: dtypeText, names: KV_DTYPES });
  const rotation =
    rotationText === undefined
      ? undefined
      : readChoiceFlag('--kv-rotation', { text: rotationText, names: ['on', 'off'] });
  if (kvDtype !== undefined && isQuantizedKv(kvDtype)) return { kvDtype, kvRotation: rotation !== 'off' };
  if (rotation !== undefined) {
    throw new ConfigError(
      `Expected --kv-rotation only with --kv-dtype ${QUANTIZED.join(', ')}, got ${kvDtype ?? 'no --kv-dtype'}; other storage is never rotated.`,
    );
  }
  return kvDtype === undefined ? {} : { kvDtype };
}

/** `int4, rotated`, `int4, not rotated`, `bf16`. */
export function describeKv(kvDtype: KvDtype, kvRotation: boolean | undefined): string {
  return isQuantizedKv(kvDtype) ? `${kvDtype}, ${kvRotation === false ? 'not ' : ''}rotated` : kvDtype;
}
