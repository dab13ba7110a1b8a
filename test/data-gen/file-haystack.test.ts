import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { openFileHaystack, splitDocuments } from '../../data-gen/file-haystack.ts';
import { openHaystack } from '../../data-gen/haystack.ts';
import { generateSample } from '../../data-gen/passkey.ts';
import { readDocuments } from '../../data-gen/read-documents.ts';
import { resolveConfig } from '../../src/config/flags.ts';
import { makeRandom } from '../../src/core/random.ts';
import { FileError, FormatError } from '../../src/errors/errors.ts';
import { makeWordTokenizer } from './word-tokenizer.ts';

const tokenizer = makeWordTokenizer();
const folder = mkdtempSync(join(tmpdir(), 'duo-haystack-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

const document = (index: number): string => `Document ${index}. ${'The lamp is in the garden. '.repeat(6)}`;
const documents = Array.from({ length: 12 }, (_, index) => document(index));
const jsonLines = documents.map((text) => `${JSON.stringify({ text })}\n`).join('');
// The same twelve lines through the zstd program, level 19, with its checksum.
const ZSTD = Buffer.from(
  'KLUv/WTGBzUDANQDeyJ0ZXh0IjogIkRvY3VtZW50IDAuIFRoZSBsYW1wIGlzIGluIHRoZSBnYXJkZW4ifQoxMjM0NTY3ODkxMQ0ogCMT6xD+h4T//z6kHyUntbuxW7ndjd2S292wm9wOro/jBiexDJOIpS8=',
  'base64',
);
/** A frame that holds no text, for other programs. */
const zstdNote = (numBytes: number): Buffer => {
  const frame = Buffer.alloc(8 + numBytes, 7);
  frame.writeUInt32LE(0x184d2a53, 0);
  frame.writeUInt32LE(numBytes, 4);
  return frame;
};
/** A frame of `numBlocks` blocks of 128 KiB of one letter, 4 bytes each; the window as RFC 8878 writes it. */
const zstdLetters = (numBlocks: number, window: number): Buffer => {
  const block = (isLast: boolean): number[] =>
    [((2 ** 17) << 3) | 2 | Number(isLast), 0, 0x10, 0x61].map((b) => b & 255);
  const blocks = Array.from({ length: numBlocks }, (_, index) => block(index === numBlocks - 1)).flat();
  return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, window, ...blocks]);
};
const take = async (
  path: string,
  options: { tokens: number; index?: number; split?: 'train' | 'held-out' },
): Promise<string> => {
  const haystack = await openFileHaystack({ path, tokenizer });
  const { tokens, index = 0, split = 'train' } = options;
  return tokenizer.decode(haystack.take({ tokens, random: makeRandom(1, 'take', index), split }));
};

describe('readDocuments', () => {
  it('reads JSON lines, plain and compressed, alike', async () => {
    for (const [name, content] of [
      ['a.jsonl', jsonLines],
      ['a.jsonl.gz', gzipSync(jsonLines)],
      ['a.jsonl.zst', ZSTD],
      ['two-frames.jsonl.zst', Buffer.concat([ZSTD, ZSTD])],
      ['two-with-notes.jsonl.zst', Buffer.concat([zstdNote(300_000), ZSTD, zstdNote(0), ZSTD, zstdNote(5)])],
    ] as const) {
      const expected = name.startsWith('two') ? [...documents, ...documents] : documents;
      expect(await readDocuments(write(name, content), 1e9), name).toEqual(expected);
    }
  });

  it('stops at the asked number of characters, never inside a surrogate pair', async () => {
    const read = await readDocuments(write('b.jsonl', jsonLines), document(0).length + 5);
    expect(read).toEqual([document(0), 'Docum']);
    expect(await readDocuments(write('pair.txt', 'ab😀'), 3)).toEqual(['ab']);
  });

  it('does not read what comes after the asked characters', async () => {
    const path = write('c.jsonl', `${jsonLines}not JSON\n`);
    expect(await readDocuments(path, 100)).toHaveLength(1);
    await expect(readDocuments(path, 1e9)).rejects.toThrow(`Expected JSON in ${path} line 13: `);
  });

  it('names file and line of a malformed line', async () => {
    for (const line of ['{"text": 5}', '[]', 'null', '{"txt":"a"}']) {
      const path = write('d.jsonl', `{"text":"fine"}\n\n${line}\n`);
      const reading = readDocuments(path, 1e9);
      await expect(reading).rejects.toThrow(`Expected an object with a string \`text\` in ${path} line 3.`);
      await expect(reading).rejects.toBeInstanceOf(FormatError);
    }
  });

  it('refuses damaged compression, other encodings and binary files in one sentence', async () => {
    for (const [name, content, message] of [
      ['cut.jsonl.gz', gzipSync(jsonLines).subarray(0, 60), 'Cannot decompress'],
      ['cut.jsonl.zst', ZSTD.subarray(0, 90), 'Cannot decompress'],
      ['text.jsonl.zst', jsonLines, 'Cannot decompress'],
      ['latin.txt', Buffer.from([0x61, 0xe4, 0x62]), 'to be UTF-8 text'],
      ['cut.txt', Buffer.from([0x61, 0xe2, 0x82]), 'to be UTF-8 text'],
      ['binary.txt', 'a\0b', 'found a NUL character'],
    ] as const) {
      const reading = readDocuments(write(name, content), 1e9);
      await expect(reading, name).rejects.toThrow(message);
      await expect(reading, name).rejects.toBeInstanceOf(FormatError);
    }
  });

  it('refuses every cut of a zstd file, and takes none of its bytes for others', async () => {
    for (let length = 1; length < ZSTD.length; length++) {
      const reading = readDocuments(write('cut.txt.zst', ZSTD.subarray(0, length)), 1e9);
      await expect(reading, `${length} bytes`).rejects.toThrow('Cannot decompress');
    }
  });

  it('takes a zstd window of 128 MiB, and refuses a larger one before it is allocated', async () => {
    const before = process.memoryUsage.rss();
    for (const [window, size] of [
      [(17 << 3) | 1, 144],
      [21 << 3, 2048],
      [(31 << 3) | 7, 3_932_160],
    ] as const) {
      const path = write('window.txt.zst', zstdLetters(1, window));
      await expect(readDocuments(path, 1e9)).rejects.toThrow(
        new FormatError(
          `Expected ${path} to be compressed with a window of at most 128 MiB, got ${size} MiB; compress it again with \`zstd\` without --long.`,
        ),
      );
    }
    const whole = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
    const path = write('segment.txt.zst', whole);
    await expect(readDocuments(path, 1e9)).rejects.toThrow('at most 128 MiB, got 4097 MiB');
    expect(process.memoryUsage.rss() - before).toBeLessThan(2 ** 26);
    const [text] = await readDocuments(write('letters.txt.zst', zstdLetters(3, 17 << 3)), 1e9);
    expect(text).toBe('a'.repeat(3 * 2 ** 17));
  });

  it('decompresses no more than it hands on: a small zstd file of gigabytes costs what is read of it', async () => {
    const path = write('bomb.txt.zst', zstdLetters(2 ** 15, 7 << 3));
    const before = process.memoryUsage.rss();
    expect((await readDocuments(path, 1e6))[0]).toHaveLength(1e6);
    expect(process.memoryUsage.rss() - before).toBeLessThan(2 ** 27);
  });
});

describe('splitDocuments', () => {
  it('keeps about a tenth back by content, whatever the order', () => {
    const many = Array.from({ length: 1000 }, (_, index) => `text ${index}`);
    const { train, 'held-out': heldOut } = splitDocuments(many);
    expect(heldOut.length).toBeGreaterThan(60);
    expect(heldOut.length).toBeLessThan(140);
    expect([...train, ...heldOut].sort()).toEqual([...many].sort());
    expect([...splitDocuments([...many].reverse())['held-out']].sort()).toEqual([...heldOut].sort());
  });

  it('keeps one of a few documents back, and equal documents on one side', () => {
    for (let round = 0; round < 30; round++) {
      const { train, 'held-out': heldOut } = splitDocuments([`a ${round}`, `b ${round}`, `a ${round}`]);
      expect([train.length, heldOut.length]).toEqual([1, 1]);
    }
  });

  it('keeps the last tenth of a single document back', () => {
    const text = 'word '.repeat(1000);
    const { train, 'held-out': heldOut } = splitDocuments([text, text]);
    expect(train[0]! + heldOut[0]!).toBe(text);
    expect(heldOut[0]!.length / text.length).toBeCloseTo(0.1, 2);
  });
});

describe('openFileHaystack', () => {
  it('reads folders in sorted order, inner folders too, and leaves other files out', async () => {
    write('tree/b.md', 'second');
    write('tree/a/x.txt', 'first');
    write('tree/a/y.bin', 'ignored');
    write('tree/c.jsonl', '{"text":"third"}\n{"text":"fourth"}');
    const haystack = await openFileHaystack({ path: join(folder, 'tree'), tokenizer });
    expect(haystack.description).toMatch(/^4 documents, \d+ characters to learn from and \d+ held out$/);
    write('tree/a/y.bin', 'changed');
    expect((await openFileHaystack({ path: join(folder, 'tree'), tokenizer })).hash).toBe(haystack.hash);
    write('tree/b.md', 'changed');
    expect((await openFileHaystack({ path: join(folder, 'tree'), tokenizer })).hash).not.toBe(haystack.hash);
  });

  it('takes consecutive text of one document, from a drawn offset after a sentence', async () => {
    const sentences = Array.from({ length: 3000 }, (_, index) => `Anna saw house ${index} again.`);
    const path = write('long.txt', sentences.join(' '));
    const starts = new Set<string>();
    for (let index = 0; index < 20; index++) {
      const text = await take(path, { tokens: 200, index });
      expect(sentences.join(' ')).toContain(text.trim());
      expect(text.trim()).toMatch(/^Anna saw/);
      starts.add(text.slice(0, 30));
    }
    expect(starts.size).toBeGreaterThan(15);
    const held = await take(path, { tokens: 200, split: 'held-out' });
    expect(Number(/house (\d+)/.exec(held)?.[1])).toBeGreaterThanOrEqual(2690);
  });

  it('goes on with following documents of the same split, then from the first, and gives every token asked for', async () => {
    const path = write('short.jsonl', jsonLines);
    const { 'held-out': heldOut } = splitDocuments(documents);
    const text = await take(path, { tokens: 3000 });
    for (const kept of documents) {
      if (heldOut.includes(kept)) expect(text).not.toContain(kept.slice(0, 12));
      else expect(text).toContain(kept);
    }
    const haystack = await openFileHaystack({ path, tokenizer });
    for (const tokens of [1, 77, 5000]) {
      const ids = haystack.take({ tokens, random: makeRandom(3), split: 'held-out' });
      expect(ids.length).toBeGreaterThanOrEqual(tokens);
    }
  });

  it('gives lawful samples of train and held-out documents that share none', async () => {
    const path = write('whole.jsonl', jsonLines);
    const haystack = await openHaystack({ path, tokenizer });
    const settings = { ...resolveConfig({ preset: 'demo' }), minTokens: 400, maxTokens: 400 };
    const named = (split: 'train' | 'held-out'): Set<string> =>
      new Set(
        Array.from({ length: 8 }, (_, index) =>
          tokenizer.decode(
            generateSample({ tokenizer, haystack, settings, seed: 1, split, index, lengthTokens: 400 }).tokens,
          ),
        ).flatMap((text) => text.match(/Document \d+/g) ?? []),
      );
    const [train, heldOut] = [named('train'), named('held-out')];
    expect(train.size).toBeGreaterThan(1);
    expect(heldOut.size).toBeGreaterThan(0);
    expect([...train].filter((name) => heldOut.has(name))).toEqual([]);
  });

  it('handles text without spaces and characters outside the basic plane', async () => {
    const path = write('dense.txt', '漢😀'.repeat(20_000));
    for (let index = 0; index < 5; index++) {
      const text = await take(path, { tokens: 2000, index });
      expect(text).toMatch(/^[漢😀]+$/u);
    }
  });

  it('names what is missing', async () => {
    const absent = join(folder, 'absent');
    await expect(openFileHaystack({ path: absent, tokenizer })).rejects.toThrow(
      `Cannot read haystack ${absent}: there is no such file or folder.`,
    );
    await expect(openFileHaystack({ path: absent, tokenizer })).rejects.toBeInstanceOf(FileError);
    const bare = join(folder, 'bare');
    mkdirSync(bare);
    await expect(openFileHaystack({ path: bare, tokenizer })).rejects.toThrow(
      `Expected .txt, .md, .jsonl, .jsonl.gz or .jsonl.zst files under ${bare}, found none.`,
    );
    const blank = write('blank.txt', ' \n ');
    await expect(openFileHaystack({ path: blank, tokenizer })).rejects.toThrow('found none.');
    const word = write('word.txt', 'x');
    await expect(openFileHaystack({ path: word, tokenizer })).rejects.toThrow('found too little.');
  });
});
