// What decides a run's numbers: settings, inputs by hash, engine, device. A resume must agree with it, key by key.
import type { JsonRecord, JsonValue } from '../src/formats/read-json.ts';

/** One key whose value differs between two identities; undefined where a side lacks it. */
export interface IdentityDifference {
  /** dotted path, `config.lr` */
  readonly key: string;
  readonly before: JsonValue | undefined;
  readonly now: JsonValue | undefined;
}

/** The first key, in the order of `now` and then of `before`, whose values differ; null where the identities agree. */
export function findIdentityDifference(before: JsonRecord, now: JsonRecord): IdentityDifference | null {
  const old = new Map(listLeaves(before, ''));
  const current = new Map(listLeaves(now, ''));
  for (const key of new Set([...current.keys(), ...old.keys()])) {
    const [a, b] = [old.get(key), current.get(key)];
    if (JSON.stringify(a) !== JSON.stringify(b)) return { key, before: a, now: b };
  }
  return null;
}

/** The sentence that refuses a resume. */
export function describeDifference({ key, before, now }: IdentityDifference): string {
  const show = showIdentityValue;
  return `Expected --resume to keep the run's settings, but \`${key}\` was \`${show(before)}\` and is \`${show(now)}\`; use the old value, or --overwrite to start anew.`;
}

export function showIdentityValue(value: JsonValue | undefined): string {
  return value === undefined ? 'absent' : JSON.stringify(value);
}

/** Leaves by dotted path; arrays count as leaves, so that a list of lengths differs as one thing. */
function listLeaves(record: JsonRecord, prefix: string): [string, JsonValue][] {
  return Object.entries(record).flatMap(([key, value]): [string, JsonValue][] => {
    const isBranch = value !== null && typeof value === 'object' && !Array.isArray(value);
    return isBranch ? listLeaves(value as JsonRecord, `${prefix}${key}.`) : [[`${prefix}${key}`, value]];
  });
}
