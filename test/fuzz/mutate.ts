// Damages valid inputs: single bits and bytes, ranges cut, doubled and moved, numbers and JSON values exchanged, deep nesting, pieces of
// other inputs. Deterministic by its generator, so that an input is known by seed and number.
import type { Random } from '../../src/core/random.ts';

/** What an input is made from. */
export interface Corpus {
  /** valid inputs */
  readonly seeds: readonly Uint8Array[];
  /** words of the format, inserted as they are */
  readonly words?: readonly string[];
}

const MAX_STEPS = 8;
/** Keeps inputs small, so that what takes long or much memory is the reader's doing. */
const MAX_BYTES = 2 ** 18;

const NUMBERS = [
  ...['0', '-0', '-1', '1', '2', '3', '7', '63', '64', '65', '127', '128', '255', '256', '257', '1023', '1024', '4097'],
  ...['65535', '65536', '2147483647', '2147483648', '4294967295', '4294967296', '9007199254740991', '9007199254740993'],
  ...[
    '1e308',
    '-1e308',
    '1e999',
    '1e-320',
    '0.5',
    '0.1',
    '1.0000001',
    '-0.5',
    'NaN',
    'Infinity',
    '99999999999999999999',
  ],
];
const VALUES = [
  ...[
    'null',
    'true',
    'false',
    '""',
    '[]',
    '{}',
    '[[]]',
    '"a"',
    '"0"',
    '[1]',
    '[null]',
    '{"a":1}',
    '"\\u0000"',
    '"\\ud800"',
  ],
  ...[
    '"__proto__"',
    '"constructor"',
    '"toString"',
    '{"__proto__":{"a":1}}',
    '[1,2,3,4,5,6,7,8,9]',
    '"\\n"',
    '"\u2028"',
  ],
];
const PIECES = [
  '"',
  ',',
  ':',
  '[',
  ']',
  '{',
  '}',
  '\\',
  '\n',
  '\r\n',
  '\t',
  ' ',
  '\0',
  '\ufeff',
  'é',
  '😀',
  '-',
  '.',
  '#',
];
const INVALID_UTF8 = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0xf5, 0x80, 0x80, 0x80]];
const INTEGERS = [
  0n,
  1n,
  2n,
  7n,
  8n,
  31n,
  127n,
  255n,
  256n,
  65535n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n,
];
const MORE_INTEGERS = [...INTEGERS, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
const DEPTHS = [10, 1000, 20_000, 100_000];

type Step = (input: Buffer, options: { random: Random; corpus: Corpus }) => Buffer;

const replaceAt = (input: Buffer, options: { at: number; length: number; by: Uint8Array }): Buffer =>
  Buffer.concat([input.subarray(0, options.at), options.by, input.subarray(options.at + options.length)]);

/** A range of the input, mostly short. */
function pickRange(input: Buffer, random: Random): { at: number; length: number } {
  const at = random.integer(input.length + 1);
  const most = random.pick([1, 4, 16, 64, 1024]);
  return { at, length: Math.min(input.length - at, random.integer(most + 1)) };
}

/** One match of a pattern in the input as Latin-1, so that places are bytes. */
function pickMatch(input: Buffer, pattern: RegExp, random: Random): { at: number; length: number } | null {
  const matches = [
    ...input
      .subarray(0, 2 ** 16)
      .toString('latin1')
      .matchAll(pattern),
  ];
  if (matches.length === 0) return null;
  const match = random.pick(matches);
  return { at: match.index, length: match[0].length };
}

function exchange(pattern: RegExp, values: readonly string[]): Step {
  return (input, { random }) => {
    const match = pickMatch(input, pattern, random);
    return match === null ? input : replaceAt(input, { ...match, by: Buffer.from(random.pick(values)) });
  };
}

const STEPS: readonly Step[] = [
  (input, { random }) => {
    const { at } = pickRange(input, random);
    return replaceAt(input, { at, length: 1, by: Uint8Array.of((input[at] ?? 0) ^ (1 << random.integer(8))) });
  },
  (input, { random }) => replaceAt(input, { ...pickRange(input, random), by: Uint8Array.of(random.integer(256)) }),
  (input, { random }) => replaceAt(input, { ...pickRange(input, random), by: new Uint8Array(0) }),
  (input, { random }) => input.subarray(0, random.integer(input.length + 1)),
  (input, { random }) => {
    const { at, length } = pickRange(input, random);
    const piece = input.subarray(at, at + length);
    const times = random.pick([1, 2, 10, 100]);
    return replaceAt(input, { at, length: 0, by: Buffer.concat(Array.from({ length: times }, () => piece)) });
  },
  (input, { random }) => {
    const from = pickRange(input, random);
    const by = input.subarray(from.at, from.at + from.length);
    return replaceAt(input, { ...pickRange(input, random), by });
  },
  (input, { random, corpus }) => {
    const other = Buffer.from(random.pick(corpus.seeds));
    const from = pickRange(other, random);
    return replaceAt(input, { ...pickRange(input, random), by: other.subarray(from.at, from.at + from.length) });
  },
  (input, { random, corpus }) => {
    const words = corpus.words ?? [];
    const word = random.pick(words.length > 0 && random.integer(2) === 0 ? words : [...PIECES, ...VALUES, ...NUMBERS]);
    return replaceAt(input, { at: pickRange(input, random).at, length: 0, by: Buffer.from(word) });
  },
  (input, { random }) => {
    return replaceAt(input, {
      at: pickRange(input, random).at,
      length: 0,
      by: Uint8Array.from(random.pick(INVALID_UTF8)),
    });
  },
  exchange(/-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g, NUMBERS),
  exchange(/-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g, VALUES),
  exchange(/"(?:[^"\\]|\\.)*"(?!\s*:)/g, [...VALUES, ...NUMBERS]),
  exchange(/"(?:[^"\\]|\\.)*"(?=\s*:)/g, [
    '"__proto__"',
    '"constructor"',
    '"length"',
    '""',
    '"a"',
    '"type"',
    '"model"',
  ]),
  exchange(/\b(?:true|false|null)\b/g, [...VALUES, ...NUMBERS]),
  exchange(/\[[^[\]{}]*\]|\{[^[\]{}]*\}/g, VALUES),
  (input, { random }) => {
    const { at } = pickRange(input, random);
    const by = Buffer.alloc(random.pick([4, 8]));
    const value = random.pick(MORE_INTEGERS);
    if (by.length === 8) by.writeBigUInt64LE(value);
    else by.writeUInt32LE(Number(value & 0xffffffffn));
    return replaceAt(input, { at, length: by.length, by });
  },
];

/** Rarer, because of its size: brackets around a place, closed or not. */
const nest: Step = (input, { random }) => {
  const { at, length } = pickRange(input, random);
  const depth = random.pick(DEPTHS);
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"a":', '}'],
    ['(', ')'],
  ]) as [string, string];
  const inner = random.integer(2) === 0 ? input.subarray(at, at + length) : Buffer.from('1');
  const ending = random.integer(3) === 0 ? '' : close.repeat(depth);
  return replaceAt(input, {
    at,
    length,
    by: Buffer.concat([Buffer.from(open.repeat(depth)), inner, Buffer.from(ending)]),
  });
};

/** One damaged input. */
export function mutate(corpus: Corpus, random: Random): Buffer {
  let input: Buffer = Buffer.from(random.pick(corpus.seeds));
  // Half of the inputs have one fault: more of them get past the first checks.
  const numSteps = Math.min(MAX_STEPS, 1 + Math.floor(-Math.log2(1 - random.uniform())));
  for (let step = 0; step < numSteps; step++) {
    const apply = random.integer(200) === 0 ? nest : random.pick(STEPS);
    input = apply(input, { random, corpus });
  }
  return Buffer.from(input.subarray(0, MAX_BYTES));
}
