import { describe, expect, test } from 'vitest';
import { measureKvShare } from '../../export/savings.ts';

const window = { sinkTokens: 128, recentTokens: 256 };

describe('measureKvShare', () => {
  test('counts whole history for retrieval heads, S + R for streaming ones', () => {
    expect(measureKvShare({ mask: [[1, 0]], window }, 32_768)).toBe((32_768 + 384) / (2 * 32_768));
    expect(
      measureKvShare(
        {
          mask: [
            [0, 0],
            [0, 1],
          ],
          window,
        },
        1000,
      ),
    ).toBe((1000 + 3 * 384) / 4000);
  });

  test('is 1 while the window holds everything, and for a mask of retrieval heads', () => {
    for (const tokens of [1, 127, 384]) expect(measureKvShare({ mask: [[0, 1]], window }, tokens)).toBe(1);
    expect(measureKvShare({ mask: [[1, 1]], window }, 1e6)).toBe(1);
    expect(measureKvShare({ mask: [[0, 1]], window }, 385)).toBeLessThan(1);
  });
});
