// duo export --keep: cuts by what a run measured of its masks, says what was not looked at, and which command measures what is missing.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { listBudgetPath } from '../../../export/budget-path.ts';
import { makeRandom } from '../../../src/core/random.ts';
import { writeGates } from '../../../src/formats/gates.ts';
import type { KeptPoint } from '../../../src/formats/kept-curve.ts';
import { readMask, toHeadMask } from '../../../src/formats/mask.ts';
import { type RunFile, writeRun } from '../../../src/formats/run.ts';
import { makeLadderGates, makeRandomLadder } from '../../export/ladder-fixture.ts';
import { answerOf } from './in-process.ts';
import { makeFolder } from './run-duo.ts';

const folder = makeFolder();
const gatesPath = join(folder, 'gates.json');
const runPath = join(folder, 'run.json');
const out = join(folder, 'mask.json');
const ladder = makeRandomLadder(makeRandom(3, 'export'), {
  ...{ heads: 12, sink: 4, tokens: 500, rank: 60 },
  windows: [8, 32, 128],
});
const made = makeLadderGates(ladder, 3);
const gates = { ...made, provenance: { ...made.provenance, sink: 4, recent: 8 } };
writeGates(gatesPath, gates);
const steps = listBudgetPath(gates, { window: { sinkTokens: 4, recentTokens: 8 }, atTokens: 500 });

const point = (index: number, low: number): KeptPoint => ({
  index,
  kvShare: steps[index]?.kvShare as number,
  kept: low + 0.01,
  interval: [low, 1],
});

function writeCurve(walked: readonly KeptPoint[], keepOf = 'recall'): void {
  const keptCurve = { keepOf, atTokens: 500, samples: 16, walked };
  writeRun(runPath, {
    ...{ schema: 'duo.run', version: 1, status: 'done', command: [], config: {}, identity: {} },
    ...{ engine: { name: 'native', device: 'cpu' }, versions: {}, inputs: { model: '/models/one' }, host: {} },
    ...{ startedAt: '', endedAt: null, resumes: 0, error: null },
    results: { keptCurve },
  } as unknown as RunFile);
}

const cut = (...flags: string[]) => answerOf('export', '--gates', folder, '--out', out, ...flags);
beforeEach(() => {
  rmSync(out, { force: true });
  writeCurve([point(20, 0.995), point(10, 0.8), point(15, 0.97), point(12, 0.9), point(11, 0.85)]);
});

describe('duo export --keep', () => {
  it('writes the smallest mask measured whose lower end holds, with what it keeps in its provenance', async () => {
    const { code, stderr } = await cut('--keep', '0.9');
    expect(code).toBe(0);
    expect(toHeadMask(readMask(out))).toEqual(steps[12]?.mask);
    expect(readMask(out).provenance.promise).toEqual({
      ...{ keep: 0.9, keepOf: 'recall', kept: 0.91, interval: [0.9, 1], samples: 16 },
    });
    expect(stderr).toMatch(
      /^The smallest budget measured that keeps 0\.9: [\d.]+ % of the cache at 500 tokens keeps 0\.9100 of full attention's recall \(0\.9000 to 1\.0000\)\. Written to /,
    );
  });

  it('says how many smaller masks were not looked at', async () => {
    const { stderr } = await cut('--keep', '0.99');
    expect(toHeadMask(readMask(out))).toEqual(steps[20]?.mask);
    expect(stderr).toMatch(
      / 4 masks between it and the next smaller one, of which .* keeps 0\.9800 .*, were not measured\./,
    );
    expect((await cut('--keep', '0.5')).stderr).toContain(' 10 smaller masks were not measured.');
    const { stdout } = await cut('--keep', '0.99', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ keep: 0.99, keepOf: 'recall', atTokens: 500, samples: 16, skipped: 4 });
  });

  it('ends with 1 where none holds, and where it was not measured, naming the command that looks', async () => {
    const none = await cut('--keep', '0.999');
    expect(none.code).toBe(1);
    expect(none.stderr).toMatch(
      /Expected a mask that keeps 0\.999 of full attention's recall among the 5 that .*run\.json knows, found none: the largest, .* let `duo identify --model \/models\/one --keep 0\.999` look at others\./,
    );
    const other = await cut('--keep', '0.9', '--keep-of', 'vt');
    expect(other.code).toBe(1);
    expect(other.stderr).toContain(
      'keep of vt, found what they keep of recall; `duo identify --model /models/one --keep 0.9 --keep-of vt` measures it.',
    );
    rmSync(runPath);
    const unknown = await cut('--keep', '0.9');
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toContain('found nothing; `duo identify --model <model> --keep 0.9` measures it.');
    expect(existsSync(out)).toBe(false);
  });

  it('refuses the record of other gates, and a malformed one', async () => {
    writeCurve([{ ...point(3, 0.9), kvShare: 0.99 }]);
    const foreign = await cut('--keep', '0.9');
    expect(foreign.code).toBe(1);
    expect(foreign.stderr).toContain('to keep 0.99 of the cache, as');
    const run = JSON.parse(readFileSync(runPath, 'utf8'));
    run.results.keptCurve.walked[0].interval = [0.9];
    writeFileSync(runPath, JSON.stringify(run));
    const malformed = await cut('--keep', '0.9');
    expect([malformed.code, existsSync(out)]).toEqual([1, false]);
    expect(malformed.stderr).toContain('results.keptCurve of ');
  });

  it.each([
    [['--keep', '0.9', '--kv-share', '0.3'], 'Expected one cut, got both --keep and --kv-share.'],
    [['--keep', '0.9', '--streaming-fraction', '0.5'], 'Expected one cut, got both --keep and --streaming-fraction.'],
    [['--keep', '0.9', '--lambda', '1'], 'Expected one cut, got both --keep and --lambda.'],
    [['--keep-of', 'gain'], 'Expected --keep with --keep-of, got it alone.'],
    [['--keep', '2'], 'Expected --keep to be a number from 0 to 1, got `2`.'],
  ])('refuses %j', async (flags, message) => {
    const { code, stderr } = await cut(...flags);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});
