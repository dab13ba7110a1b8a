// Builders of preset keys: each is a zod schema that also carries what the key means, its kind and the sentence of its error.
import { z } from 'zod';

/** How a key's flag is read from text. */
export type KeyKind = 'integer' | 'number' | 'string' | 'string-list' | 'choice' | 'window-list';

/** What one key is, for flags, help and errors. */
export interface KeyMeta {
  readonly kind: KeyKind;
  readonly description: string;
  /** ends "Expected `key` to be …" */
  readonly expected: string;
  readonly nullable: boolean;
  readonly choices?: readonly string[];
}

const metas = new WeakMap<z.ZodType, KeyMeta>();

function register<Schema extends z.ZodType>(schema: Schema, meta: KeyMeta): Schema {
  metas.set(schema, meta);
  return schema;
}

/** Meta of a schema made here. */
export function metaOf(schema: z.ZodType): KeyMeta | undefined {
  return metas.get(schema);
}

interface Bounds {
  readonly least: number;
  readonly most?: number;
}

/** A range without its lower end. */
interface OpenBounds {
  readonly above: number;
  readonly most: number;
}

function describeBounds(bounds: Bounds | OpenBounds): string {
  if ('above' in bounds) return `above ${bounds.above} and at most ${bounds.most}`;
  const { least, most } = bounds;
  return most === undefined ? `of at least ${least}` : `from ${least} to ${most}`;
}

/** Whole number within bounds. */
export function integerKey(description: string, bounds: Bounds) {
  const schema = z
    .int()
    .min(bounds.least)
    .max(bounds.most ?? Number.MAX_SAFE_INTEGER);
  return register(schema, {
    kind: 'integer',
    description,
    expected: `an integer ${describeBounds(bounds)}`,
    nullable: false,
  });
}

/** Whole number within bounds, or null. */
export function optionalIntegerKey(description: string, bounds: Bounds) {
  const schema = z
    .int()
    .min(bounds.least)
    .max(bounds.most ?? Number.MAX_SAFE_INTEGER)
    .nullable();
  return register(schema, {
    kind: 'integer',
    description,
    expected: `an integer ${describeBounds(bounds)}, or null`,
    nullable: true,
  });
}

/** Finite number within bounds. */
export function numberKey(description: string, bounds: Bounds | OpenBounds) {
  const number = z.number().max(bounds.most ?? Number.MAX_VALUE);
  const schema = 'above' in bounds ? number.gt(bounds.above) : number.min(bounds.least);
  return register(schema, {
    kind: 'number',
    description,
    expected: `a number ${describeBounds(bounds)}`,
    nullable: false,
  });
}

/** Finite number within bounds, or null. */
export function optionalNumberKey(description: string, bounds: Bounds) {
  const schema = z
    .number()
    .min(bounds.least)
    .max(bounds.most ?? Number.MAX_VALUE)
    .nullable();
  return register(schema, {
    kind: 'number',
    description,
    expected: `a number ${describeBounds(bounds)}, or null`,
    nullable: true,
  });
}

/** Any text; `pattern` and its wording restrict it. */
export function stringKey(description: string, restriction?: { pattern: RegExp; expected: string }) {
  const schema = restriction ? z.string().regex(restriction.pattern) : z.string();
  return register(schema, {
    kind: 'string',
    description,
    expected: restriction?.expected ?? 'a text',
    nullable: false,
  });
}

/** One of a few words. */
export function choiceKey<const Choices extends readonly [string, ...string[]]>(description: string, choices: Choices) {
  const expected = `one of ${choices.map((choice) => `"${choice}"`).join(', ')}`;
  return register(z.enum(choices), { kind: 'choice', description, expected, nullable: false, choices });
}

/** A list of distinct words without white space. */
export function wordListKey(description: string) {
  const schema = z
    .array(z.string().regex(/^\S+$/))
    .min(1)
    .refine((items) => new Set(items).size === items.length);
  return register(schema, {
    kind: 'string-list',
    description,
    expected: 'a list of at least one distinct word without white space',
    nullable: false,
  });
}

/** Window sizes in tokens, ascending, or `auto`, or null. */
export function windowListKey(description: string, { most }: { most: number }) {
  const sizes = z
    .array(z.int().min(1))
    .min(1)
    .max(most)
    .refine((windows) => windows.every((window, rung) => rung === 0 || window > (windows[rung - 1] as number)));
  return register(z.union([z.literal('auto'), sizes]).nullable(), {
    kind: 'window-list',
    description,
    expected: `a list of 1 to ${most} ascending integers of at least 1, or "auto", or null`,
    nullable: true,
  });
}
