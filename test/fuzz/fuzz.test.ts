// The short form of `npm run fuzz`: every reader takes its valid inputs, and a few hundred damaged ones without a finding.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeRandom } from '../../src/core/random.ts';
import { DuoError, FormatError } from '../../src/errors/errors.ts';
import { mutate } from './mutate.ts';
import { READERS } from './readers.ts';
import { runInputs } from './run-inputs.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-fuzz-test-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const INPUTS = 300;
/** Valid for one of the two things that its reader tries. */
const REFUSED_SEEDS = new Map([
  ['GGUF', [2]],
  ['safetensors', [1]],
]);

describe.each(READERS.map((reader) => [reader.name, reader] as const))('%s', (name, reader) => {
  it('is read where it is valid', async () => {
    const refused: number[] = [];
    for (const [index, seed] of reader.seeds.entries()) {
      try {
        const errors = (await reader.readMany?.([Buffer.from(seed)], join(scratch, `seed-${index}`))) ?? [];
        if (errors[0] instanceof Error) throw errors[0];
        await reader.read?.(Buffer.from(seed), join(scratch, `seed-${index}`));
      } catch (error) {
        if (!REFUSED_SEEDS.has(name)) throw error;
        refused.push(index);
      }
    }
    expect(refused).toEqual(REFUSED_SEEDS.get(name) ?? []);
  });

  it('is refused in one sentence, soon and in little memory where it is damaged', async () => {
    const { findings, read } = await runInputs(reader, {
      seed: 20261126,
      from: 0,
      inputs: INPUTS,
      folder: join(scratch, 'damaged'),
    });
    expect(findings).toEqual([]);
    expect(read).toBeLessThan(INPUTS);
  });
});

describe.each(
  READERS.filter(({ name }) => /json/.test(name) && !/gz|zst/.test(name)).map(
    (reader) => [reader.name, reader] as const,
  ),
)('%s that nests deeper than a call stack', (_, reader) => {
  const deep = [`${'['.repeat(50_000)}${']'.repeat(50_000)}`, `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`];

  it('is refused in one sentence, whichever value it is', async () => {
    const failures: unknown[] = [];
    for (const seed of reader.seeds) {
      const text = Buffer.from(seed).toString();
      // After every colon begins a value; what follows it becomes the value of another key.
      const places = [...text.matchAll(/":(?!")/g)].map(({ index }) => index);
      // Vocabularies have hundreds of equal ones.
      const stride = Math.ceil(places.length / 30);
      for (const index of places.filter((_, number) => number % stride === 0)) {
        for (const value of deep) {
          const input = `${text.slice(0, index + 2)}${value},"b":${text.slice(index + 2)}`;
          try {
            await reader.read?.(Buffer.from(input), join(scratch, 'deep'));
          } catch (error) {
            if (!(error instanceof DuoError)) failures.push(error);
          }
        }
      }
    }
    expect(failures).toEqual([]);
  });
});

describe('runInputs', () => {
  const corpus = { name: 'x', seeds: [Buffer.from('{"a":[1,2]}')] };
  const run = (read: (input: Buffer) => void) =>
    runInputs({ ...corpus, read }, { seed: 1, from: 5, inputs: 2, folder: scratch });

  it('finds what is not an error of duo in one sentence', async () => {
    const fail = (error: unknown) =>
      run(() => {
        throw error;
      });
    expect((await fail(new TypeError('no'))).findings.map(({ index }) => index)).toEqual([5, 6]);
    expect((await fail('text')).findings).toHaveLength(2);
    expect(await fail(new FormatError('refused'))).toMatchObject({ inputs: 2, read: 0, findings: [] });
  });

  it('finds what takes longer than a second, or much memory', async () => {
    const slow = await run(() => {
      const { user } = process.cpuUsage();
      let sum = 0;
      while (process.cpuUsage().user - user < 1.1e6) for (let i = 0; i < 1e6; i++) sum += i % 7;
      expect(sum).toBeGreaterThan(0);
    });
    expect(slow.findings.map(({ what }) => what)).toEqual([
      expect.stringMatching(/^took [1-9]\d{3} ms$/),
      expect.stringMatching(/^took [1-9]\d{3} ms$/),
    ]);
    // well above the limit: where memory is short the system takes other pages of the process away meanwhile
    const large = await run(() => void Buffer.alloc(8e8, 1));
    // some machines need more than a second to hand out so much, which is a finding of its own
    expect(large.findings.map(({ what }) => what)).toContainEqual(expect.stringMatching(/^took \d+ MiB of memory$/));
  });
});

describe('mutate', () => {
  it('gives the same input for the same number, and another for another', () => {
    const corpus = { seeds: READERS[0]!.seeds };
    const inputs = Array.from({ length: 50 }, (_, index) => mutate(corpus, makeRandom(1, index)).toString('hex'));
    expect(Array.from({ length: 50 }, (_, index) => mutate(corpus, makeRandom(1, index)).toString('hex'))).toEqual(
      inputs,
    );
    expect(new Set(inputs).size).toBeGreaterThan(45);
  });
});
