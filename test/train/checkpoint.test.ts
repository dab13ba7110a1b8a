import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Checkpoint, findCheckpoint, writeCheckpoint } from '../../train/checkpoint.ts';

const path = join(mkdtempSync(join(tmpdir(), 'duo-checkpoint-')), 'checkpoint.json');

const checkpoint: Checkpoint = {
  identity: { optimizer: { lr: 0.02 }, samples: 'sha256:00' },
  state: {
    steps: 12,
    // Awkward in decimal: a denormal, the largest float32, one third.
    gates: Float32Array.of(1, 1 / 3, 1.401298464324817e-45),
    firstMoment: Float32Array.of(-1e-30, 3.4028234663852886e38, -0),
    secondMoment: Float32Array.of(1e-38, 0.1, 0),
    betaPowers: Float32Array.of(0.9 ** 13, 0.999 ** 13),
  },
  stability: { mask: [[1, 0, 1]], unchangedSteps: 3 },
};

describe('checkpoint', () => {
  test('write then read is identity, bit for bit', () => {
    writeCheckpoint(path, checkpoint);
    const read = findCheckpoint(path, 3) as Checkpoint;
    expect(read).toEqual(checkpoint);
    expect(Object.is(read.state.firstMoment[2], -0)).toBe(true);
  });

  test('is null where none was written', () => {
    expect(findCheckpoint(`${path}.absent`, 3)).toBeNull();
  });

  test.each([
    ['of another number of gates', {}, 4, /Expected `gates` in .* to be 4 finite values, got `3`/],
    [
      'with a NaN',
      { gates: Buffer.from(new Float32Array([1, Number.NaN, 0]).buffer).toString('base64') },
      3,
      /of which 2 are finite; run again with --overwrite/,
    ],
    [
      'that is no base64',
      { secondMoment: '?' },
      3,
      /Expected `secondMoment` in .* to be base64 of float32 values, got `"\?"`/,
    ],
    [
      'of another kind',
      { schema: 'duo.gates' },
      3,
      /Expected `schema` in .* to be `duo\.checkpoint`, got `duo\.gates`/,
    ],
    ['of the future', { version: 2 }, 3, /Expected `version` in .* to be `1`, got `2`/],
    ['with negative steps', { steps: -1 }, 3, /Expected `steps` in .* got `-1`/],
  ])('%s is refused', (_, change, numGates, message) => {
    writeCheckpoint(path, checkpoint);
    const other = `${path}.other`;
    writeFileSync(other, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }));
    expect(() => findCheckpoint(other, numGates)).toThrow(message);
  });
});
