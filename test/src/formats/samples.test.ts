import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import type { AnswerRange, Sample } from '../../../src/core/shapes.ts';
import { FileError, FormatError } from '../../../src/errors/errors.ts';
import {
  checkSample,
  metaPathOf,
  openSamples,
  readSamples,
  readSamplesMeta,
  writeSamples,
} from '../../../src/formats/samples.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-samples-'));
afterAll(() => rmSync(folder, { recursive: true }));

function writeText(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const good = '{"tokens":[1,2,3,4],"answers":[[1,3]],"note":"kept"}';

describe('openSamples', () => {
  it('reads samples of anybody: other keys, blank lines, CRLF, a byte order mark, no last line end', () => {
    const path = writeText('anybody.jsonl', `\uFEFF${good}\r\n\n  \n{"answers":[[2,3]],"tokens":[0,0,7]}`);
    const file = openSamples(path);
    expect([file.count, file.shortest, file.longest]).toEqual([2, 3, 4]);
    expect(file.read(1)).toEqual({ tokens: [0, 0, 7], answers: [[2, 3]] });
    expect(file.read(0)).toEqual({ tokens: [1, 2, 3, 4], answers: [[1, 3]], note: 'kept' });
    expect(file.hash).toBe(`sha256:${createHash('sha256').update(readFileSync(path)).digest('hex')}`);
    file.close();
    file.close();
    expect(() => file.read(0)).toThrow(`Expected ${path} to be open, but it was closed.`);
  });

  it('asks a long-range sample for the gain of each answer token', () => {
    const sample = {
      tokens: [1, 2, 3, 4],
      answers: [
        [1, 2],
        [3, 4],
      ],
      objective: 'long-range',
      gains: [2.5, 3],
    };
    expect(checkSample(sample, { place: 'f' })).toBe(sample);
    for (const gains of [undefined, [2.5], [2.5, null], 'many']) {
      expect(() => checkSample({ ...sample, gains }, { place: 'f' })).toThrow(
        'Expected `gains` to be 2 numbers, one for each answer token of a long-range sample, in f, got',
      );
    }
    expect(() => checkSample({ ...sample, objective: 'mine', gains: 'free' }, { place: 'f' })).not.toThrow();
  });

  it('reads lines across its reading blocks', () => {
    const random = makeRandom(5, 'blocks');
    const samples: Sample[] = [3, 70_000, 1000, 200_000, 2].map((length) => ({
      tokens: Array.from({ length }, () => random.integer(100_000)),
      answers: [[1, length] as AnswerRange],
      text: 'ä€😀',
    }));
    const path = join(folder, 'blocks.jsonl');
    writeSamples(path, { samples, provenance: {} });
    expect([...readSamples(path)]).toEqual(samples);
  });

  it('takes ids and lengths up to the limits', () => {
    const path = writeText('limits.jsonl', good);
    expect([...readSamples(path, { vocab: 5, maxTokens: 4 })]).toHaveLength(1);
  });

  const wrong: [name: string, line: string, message: string][] = [
    ['half a line', '{"tokens": [1, 2', 'Expected JSON in line 2 of PATH: '],
    ['no object', '[1,2]', 'Expected an object with `tokens` and `answers` in line 2 of PATH, got `[1,2]`.'],
    [
      'no tokens',
      '{"answers":[[1,2]]}',
      'Expected `tokens` to be a list of token ids in line 2 of PATH, got `undefined`.',
    ],
    [
      'empty tokens',
      '{"tokens":[],"answers":[[1,2]]}',
      'Expected `tokens` to be a list of token ids in line 2 of PATH, got `[]`.',
    ],
    [
      'a negative id',
      '{"tokens":[1,-1],"answers":[[1,2]]}',
      'Expected `tokens[1]` to be an integer from 0 to 9 in line 2 of PATH, got `-1`.',
    ],
    [
      'a fraction',
      '{"tokens":[1.5,1],"answers":[[1,2]]}',
      'Expected `tokens[0]` to be an integer from 0 to 9 in line 2 of PATH, got `1.5`.',
    ],
    [
      'a text id',
      '{"tokens":["1",1],"answers":[[1,2]]}',
      'Expected `tokens[0]` to be an integer from 0 to 9 in line 2 of PATH, got `"1"`.',
    ],
    [
      'an id past the vocabulary',
      '{"tokens":[1,10],"answers":[[1,2]]}',
      'Expected `tokens[1]` to be an integer from 0 to 9 in line 2 of PATH, got `10`.',
    ],
    [
      'too long',
      '{"tokens":[1,1,1,1,1],"answers":[[1,2]]}',
      'Expected a sample of at most the 4 tokens that the model allows in line 2 of PATH, got `5`.',
    ],
    [
      'no answers',
      '{"tokens":[1,1]}',
      'Expected `answers` to be a list of at least one range [start, end) in line 2 of PATH, got `undefined`.',
    ],
    [
      'empty answers',
      '{"tokens":[1,1],"answers":[]}',
      'Expected `answers` to be a list of at least one range [start, end) in line 2 of PATH, got `[]`.',
    ],
    [
      'an answer at 0',
      '{"tokens":[1,1],"answers":[[1,2],[0,1]]}',
      'Expected `answers[1]` to be [start, end) with 1 ≤ start < end ≤ 2 in line 2 of PATH, got `[0,1]`.',
    ],
    [
      'an empty answer',
      '{"tokens":[1,1],"answers":[[1,1]]}',
      'Expected `answers[0]` to be [start, end) with 1 ≤ start < end ≤ 2 in line 2 of PATH, got `[1,1]`.',
    ],
    [
      'an answer past the end',
      '{"tokens":[1,1],"answers":[[1,3]]}',
      'Expected `answers[0]` to be [start, end) with 1 ≤ start < end ≤ 2 in line 2 of PATH, got `[1,3]`.',
    ],
    [
      'a range of three',
      '{"tokens":[1,1],"answers":[[1,2,3]]}',
      'Expected `answers[0]` to be [start, end) with 1 ≤ start < end ≤ 2 in line 2 of PATH, got `[1,2,3]`.',
    ],
    [
      'a fractional range',
      '{"tokens":[1,1],"answers":[[1,1.5]]}',
      'Expected `answers[0]` to be [start, end) with 1 ≤ start < end ≤ 2 in line 2 of PATH, got `[1,1.5]`.',
    ],
  ];
  for (const [name, line, message] of wrong) {
    it(`refuses ${name}, with the line`, () => {
      const path = writeText('wrong.jsonl', `${good}\n${line}\n`);
      const open = () => openSamples(path, { vocab: 10, maxTokens: 4 });
      expect(open).toThrow(FormatError);
      expect(open).toThrow(message.replace('PATH', path));
    });
  }

  it('refuses an empty file, a folder and an absent file', () => {
    const empty = writeText('empty.jsonl', '\n \n');
    expect(() => openSamples(empty)).toThrow(`Expected at least one sample in ${empty}, found none.`);
    expect(() => openSamples(folder)).toThrow(FormatError);
    expect(() => openSamples(join(folder, 'none.jsonl'))).toThrow(FileError);
    expect(() => openSamples(join(folder, 'none.jsonl'))).toThrow('there is no such file or folder');
  });

  it('says so when the file shrinks while it is open', () => {
    const path = writeText('shrinks.jsonl', `${good}\n${good}\n`);
    const file = openSamples(path);
    writeFileSync(path, good);
    expect(() => file.read(1)).toThrow('to stay as it was');
    file.close();
  });
});

describe('writeSamples', () => {
  const samples: Sample[] = [
    { tokens: [5, 6, 7], answers: [[1, 3]], seed: 4 },
    { tokens: [1, 1], answers: [[1, 2]] },
  ];

  it('writes what reading gives back, with count, hash and provenance beside it', () => {
    const path = join(folder, 'written.jsonl');
    const meta = writeSamples(path, { samples, provenance: { seed: 42, haystack: 'sha256:00' } });
    const file = openSamples(path);
    expect(readSamplesMeta(path)).toEqual(meta);
    expect(metaPathOf(path)).toBe(join(folder, 'written.meta.json'));
    expect(meta).toMatchObject({ count: 2, samples: file.hash, provenance: { seed: 42 } });
    expect([file.read(0), file.read(1)]).toEqual(samples);
    file.close();
    const again = join(folder, 'again.jsonl');
    writeSamples(again, { samples: readSamples(path), provenance: {} });
    expect(readFileSync(again)).toEqual(readFileSync(path));
  });

  it('leaves the older file and nothing half-written when the source fails, or a sample is wrong, or none comes', () => {
    const inner = join(folder, 'half');
    mkdirSync(inner);
    const path = join(inner, 'half.jsonl');
    writeFileSync(path, good);
    function* failing(): Generator<Sample> {
      yield samples[0] as Sample;
      throw new Error('stopped');
    }
    expect(() => writeSamples(path, { samples: failing(), provenance: {} })).toThrow('stopped');
    expect(() =>
      writeSamples(path, { samples: [samples[0]!, { tokens: [1], answers: [[1, 2]] }], provenance: {} }),
    ).toThrow(`in sample 2 for ${path}`);
    expect(() => writeSamples(path, { samples: [], provenance: {} })).toThrow('Expected at least one sample to write');
    expect(readFileSync(path, 'utf8')).toBe(good);
    expect(readdirSync(inner)).toEqual(['half.jsonl']);
  });

  it('names an absent or read-only folder', (context) => {
    const path = join(folder, 'absent', 'x.jsonl');
    expect(() => writeSamples(path, { samples, provenance: {} })).toThrow(
      `Cannot write ${path}: its folder does not exist; create it first.`,
    );
    if (process.getuid?.() === 0) return context.skip('root may write everywhere');
    const closed = join(folder, 'closed');
    mkdirSync(closed);
    chmodSync(closed, 0o500);
    expect(() => writeSamples(join(closed, 'x.jsonl'), { samples, provenance: {} })).toThrow('permission was denied');
    expect(existsSync(join(closed, 'x.jsonl'))).toBe(false);
  });
});

describe('checkSample', () => {
  it('accepts every sample drawn within the rules', () => {
    const random = makeRandom(9, 'property');
    for (let round = 0; round < 200; round++) {
      const length = 2 + random.integer(50);
      const answers = Array.from({ length: 1 + random.integer(4) }, (): AnswerRange => {
        const start = 1 + random.integer(length - 1);
        return [start, start + 1 + random.integer(length - start)];
      });
      const sample = { tokens: Array.from({ length }, () => random.integer(9)), answers };
      expect(checkSample(sample, { place: 'here', vocab: 9, maxTokens: length })).toBe(sample);
    }
  });
});
