// Temporary files of several writers of one folder: their names never meet, and what the dead left behind is cleared up.
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { machineName, startTimeOf } from '../../../src/core/process-life.ts';
import { writeFileAtomic } from '../../../src/formats/atomic-file.ts';
import { isTemporaryOf, nameTemporary } from '../../../src/formats/temporary-names.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-temporary-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);
/** No process has it: above the system's largest. */
const NOBODY = 2 ** 22 + 1;

describe('nameTemporary', () => {
  it('names host and process, and never twice the same', () => {
    const names = Array.from({ length: 100 }, () => nameTemporary(at('mask.json')));
    expect(new Set(names).size).toBe(100);
    for (const name of names) {
      expect(basename(name)).toContain(`.mask.json.${machineName()}-${process.pid}-`);
      expect(isTemporaryOf(at('mask.json'), basename(name))).toBe(true);
      expect(isTemporaryOf(at('json'), basename(name))).toBe(false);
    }
  });

  it('leaves room for a target of the longest name', () => {
    const target = at(`${'長'.repeat(83)}.jsonl`);
    expect(Buffer.byteLength(basename(target))).toBe(255);
    writeFileAtomic(target, 'x');
    expect(readdirSync(scratch)).toEqual([basename(target)]);
    expect(Buffer.byteLength(basename(nameTemporary(target)))).toBeLessThan(255);
  });
});

describe('left-over files', () => {
  const here = machineName();
  const parentStart = startTimeOf(process.ppid) ?? '0';
  beforeEach(() => {
    for (const name of readdirSync(scratch)) rmSync(at(name));
  });

  it.each([
    ['a process of this machine that is gone', 'a.json', `${here}-${NOBODY}-5`, false, 'removed'],
    ['a living process of this machine', 'a.json', `${here}-${process.ppid}-${parentStart}`, true, 'kept'],
    ['an earlier process of our own number', 'a.json', `${here}-${process.pid}-1`, false, 'removed'],
    ['this process', 'a.json', `${here}-${process.pid}-${startTimeOf(process.pid) ?? '0'}`, false, 'kept'],
    ['another machine, just now', 'a.json', `not-${here}-${NOBODY}-5`, false, 'kept'],
    ['a container of this machine, just now', 'a.json', `${here}+4026532999-${NOBODY}-5`, false, 'kept'],
    ['another machine, two days ago', 'a.json', `not-${here}-${process.ppid}-5`, true, 'removed'],
    ['somebody who wrote another file', 'b.json', `${here}-${NOBODY}-5`, true, 'kept'],
  ])('of %s', (_, target, owner, isOld, fate) => {
    const left = `.${target}.${owner}-0123abcd.tmp`;
    writeFileSync(at(left), 'half');
    const twoDaysAgo = new Date(Date.now() - 48 * 3600 * 1000);
    if (isOld) utimesSync(at(left), twoDaysAgo, twoDaysAgo);
    writeFileAtomic(at('a.json'), 'whole');
    // Where the system does not report when processes began, a number in use is a living process.
    const isKept = fate === 'kept' || (process.platform !== 'linux' && owner.endsWith(`${process.pid}-1`));
    expect(readdirSync(scratch).sort()).toEqual(isKept ? [left, 'a.json'].sort() : ['a.json']);
  });
});
