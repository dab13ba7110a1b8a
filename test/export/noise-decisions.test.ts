// Labels that rounding decided: heads below the floor on both sides of the cut, and from a tenth of the smaller class on a warning.
import { describe, expect, it } from 'vitest';
import { countNoiseDecisions, describeNoiseDecisions } from '../../export/noise-decisions.ts';
import { FormatError } from '../../src/errors/errors.ts';
import { readNoise } from '../../src/formats/noise.ts';

/** Two layers of ten heads: the first streams but for its last head, the second is retrieval. */
const MASK = [[...new Array<number>(9).fill(0), 1], new Array<number>(10).fill(1)];
const at = (...heads: [number, number][]) => ({ floor: 1e-6, below: heads });

describe('countNoiseDecisions', () => {
  it('is zero where all heads below the floor are on one side', () => {
    const noise = at([0, 0], [0, 1], [0, 8]);
    expect(countNoiseDecisions(MASK, noise)).toEqual({ decided: 0, of: 9, isLarge: false });
    expect(describeNoiseDecisions(noise, countNoiseDecisions(MASK, noise))).toBe(
      'The effect of 3 heads is below the noise floor of this measurement (1.0e-6); no label was decided by that',
    );
  });

  it('counts those that could change places, and warns from a tenth of the smaller class on', () => {
    const noise = at([0, 0], [0, 1], [0, 9], [1, 5], [1, 6]);
    const decisions = countNoiseDecisions(MASK, noise);
    expect(decisions).toEqual({ decided: 2, of: 9, isLarge: true });
    expect(describeNoiseDecisions(noise, decisions)).toMatch(
      /^The effect of 5 heads is .*; 2 of the 9 labels of the smaller class were decided by rounding, which leaves/,
    );
    const wide = [new Array<number>(10).fill(0), new Array<number>(10).fill(1)];
    expect(countNoiseDecisions(wide, at([0, 0], [1, 0]))).toEqual({ decided: 1, of: 10, isLarge: false });
  });

  it('has nothing to say of a measurement whose heads all stand above it', () => {
    expect(describeNoiseDecisions(at(), countNoiseDecisions(MASK, at()))).toBeNull();
  });
});

describe('readNoise', () => {
  it('reads what a provenance states, null where it states none', () => {
    expect(readNoise({ noise: { floor: 1e-6, below: [[0, 1]] } }, 'f')).toEqual(at([0, 1]));
    expect(readNoise({}, 'f')).toBeNull();
    expect(() => readNoise({ noise: { floor: 'low', below: [] } }, 'f')).toThrow(FormatError);
  });
});
