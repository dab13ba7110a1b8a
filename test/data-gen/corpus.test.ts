// The corpus that ships with the package: what the README beside it and package.json say of it, and that both parts hold prose and code.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { splitDocuments } from '../../data-gen/file-haystack.ts';
import { readDocuments } from '../../data-gen/read-documents.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const TEXTS = join(ROOT, 'corpus/texts');
const names = readdirSync(TEXTS).sort();

describe('the corpus', () => {
  it('holds a few hundred thousand characters of prose and code, as many documents as its README says', async () => {
    const documents = (await Promise.all(names.map((name) => readDocuments(join(TEXTS, name), 1e9)))).flat();
    expect(documents).toHaveLength(12);
    const size = documents.reduce((sum, text) => sum + text.length, 0);
    expect(size).toBeGreaterThan(300_000);
    expect(size).toBeLessThan(700_000);
    expect(names.every((name) => /^(on-liberty|walden|code)-[a-z0-9-]+\.txt$/.test(name))).toBe(true);
  });

  it('holds out the documents that its README names, prose and code', () => {
    const texts = new Map(names.map((name) => [readFileSync(join(TEXTS, name), 'utf8'), name]));
    const { train, 'held-out': heldOut } = splitDocuments([...texts.keys()]);
    const listed = heldOut.map((text) => texts.get(text) as string);
    expect(listed.sort()).toEqual([
      'code-cpu-session.txt',
      'on-liberty-chapter-4.txt',
      'walden-the-pond-in-winter.txt',
    ]);
    const readme = readFileSync(join(ROOT, 'corpus/README.md'), 'utf8').split("content's hash")[1] as string;
    for (const name of listed) expect(readme).toContain(name);
    expect(train.length).toBe(9);
  });

  it('is part of the package', () => {
    const { files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { files: string[] };
    expect(files).toContain('corpus');
  });
});
