import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { countKvBytes } from '../../../src/core/kv-cost.ts';
import { readMask, toHeadMask } from '../../../src/formats/mask.ts';
import { hashMask } from '../../../src/formats/mask-hash.ts';
import { quote } from '../../../src/report/commands.ts';
import { buildReport } from '../../../src/report/report.ts';
import { readRunFolder } from '../../../src/report/run-data.ts';
import { summariseRun } from '../../../src/report/summary.ts';
import { writeRunFixture } from './run-fixture.ts';

type Json = Record<string, unknown>;
const whole = writeRunFixture();
const ownHash = hashMask(toHeadMask(readMask(join(whole, 'mask.json'))));

/** A copy of the whole run with one file changed. */
function changeRun(name: string, change: (file: Json) => void): string {
  const folder = mkdtempSync(join(tmpdir(), "duo report's "));
  cpSync(whole, folder, { recursive: true });
  const path = join(folder, name);
  const file = JSON.parse(readFileSync(path, 'utf8')) as Json;
  change(file);
  writeFileSync(path, JSON.stringify(file));
  return folder;
}
const nameGiven = (hash: string | null) => (file: Json) => {
  for (const row of file.rows as Json[]) if (row.mask !== 'full') row.maskHash = hash;
};

describe('hashMask', () => {
  it('is the sha256 of sink and windows alone', () => {
    const mask = { sinkTokens: 4, windows: [[null, 32]] };
    expect(hashMask(mask)).toBe('sha256:87b5882829107b7d6f3a88a8b7ecf9523ca9949e730c9cd5bd597156a84a9382');
    expect(hashMask({ ...mask, windows: [[32, null]] })).not.toBe(hashMask(mask));
    expect(hashMask({ ...mask, sinkTokens: 5 })).not.toBe(hashMask(mask));
    expect(hashMask('full')).toBeNull();
  });
});

describe('results of another mask', () => {
  it('keep their names where they are of the run', () => {
    const data = readRunFolder(changeRun('results.json', nameGiven(ownHash)));
    expect(data.ofAnotherMask).toEqual([]);
    expect(data.results?.rows.some((row) => row.mask === 'given')).toBe(true);
  });

  it('are labelled, and are no recall of the run', () => {
    const folder = changeRun('results.json', nameGiven('sha256:other'));
    const data = readRunFolder(folder);
    expect(data.ofAnotherMask).toEqual(['results.json']);
    const names = new Set(data.results?.rows.map((row) => row.mask));
    expect(names).toContain('given (another mask)');
    expect(names).not.toContain('given');
    expect(names).toContain('full');
    expect(summariseRun({ ...data, heldOut: [] }, { countKvBytes }).recall).toBeNull();
    const { html } = buildReport(data, { countKvBytes });
    expect(html).toContain('given (another mask)');
    expect(html).not.toMatch(/needle-niah-given"/);
  });

  it('without a hash are told by the share of heads that stream', () => {
    const share = (value: number) => (file: Json) => {
      for (const row of file.rows as Json[]) if (row.mask === 'given') row.streamingFraction = value;
    };
    const { mask } = JSON.parse(readFileSync(join(whole, 'mask.json'), 'utf8')) as { mask: number[][] };
    const own = mask.flat().filter((bit) => bit === 0).length / mask.flat().length;
    expect(readRunFolder(changeRun('results.json', share(own))).ofAnotherMask).toEqual([]);
    expect(readRunFolder(changeRun('results.json', share(own + 0.01))).ofAnotherMask).toEqual(['results.json']);
  });

  it.each(['bench.json', 'comparison.json'])('%s is left out, with the reason', (name) => {
    const change = (hash: string | null) => (file: Json) => {
      file.maskHash = hash;
    };
    const own = readRunFolder(changeRun(name, change(ownHash)));
    expect(own.ofAnotherMask).toEqual([]);
    const other = readRunFolder(changeRun(name, change('sha256:other')));
    expect(other.ofAnotherMask).toEqual([name]);
    const { missing } = buildReport(other, { countKvBytes });
    expect(missing.map(({ reason }) => reason).join()).toMatch(
      new RegExp(`${name} was (measured|made) with another mask`),
    );
  });
});

describe('commands of a report', () => {
  it('are absolute, quoted, and name the model', () => {
    const folder = changeRun('bench.json', (file) => {
      file.maskHash = 'sha256:other';
    });
    const { missing } = buildReport(readRunFolder(folder), { countKvBytes });
    const { command } = missing[0] as { command: string };
    expect(command).toContain(` --mask ${quote(join(folder, 'mask.json'))} `);
    expect(command).toContain(`> ${quote(join(folder, 'bench.json'))}`);
    const run = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')) as { inputs: { model: string } };
    expect(command).toContain(` --model ${quote(run.inputs.model)} `);
    expect(command).not.toContain('<dir>');
  });

  it('quotes what a shell would split or read, and only that', () => {
    expect(quote('/a/b-1.json')).toBe('/a/b-1.json');
    expect(quote('my model')).toBe("'my model'");
    expect(quote("it's $HOME")).toBe("'it'\\''s $HOME'");
  });
});
