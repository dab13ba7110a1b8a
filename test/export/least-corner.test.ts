// The linear problem of the bound against every mixture of two options, which is where its solutions lie.
import { expect, test } from 'vitest';
import { findLeastCorner } from '../../export/least-corner.ts';
import { makeRandom } from '../../src/core/random.ts';

test('saves enough, mixes at most one head, and no choice of whole options is cheaper', () => {
  const random = makeRandom(1, 'corner');
  const entries = Float64Array.from([10, 30, 70, 100]);
  for (let draw = 0; draw < 200; draw++) {
    const [heads, rungs] = [4, 3];
    const prices = Float64Array.from({ length: heads * rungs }, () => random.uniform() * 10 - 2);
    const budget = 40 + random.integer(360);
    const corner = findLeastCorner(
      { heads, rungs, entries, matrix: new Float64Array(0), magnitude: 0 },
      { prices, budget },
    );
    let [kept, price, mixed] = [0, 0, 0];
    for (let head = 0; head < heads; head++) {
      const shares = [...corner.subarray(head * rungs, (head + 1) * rungs)];
      const rest = 1 - shares.reduce((a, b) => a + b, 0);
      expect(Math.min(rest, ...shares)).toBeGreaterThan(-1e-12);
      if ([...shares, rest].some((share) => share > 1e-9 && share < 1 - 1e-9)) mixed++;
      [...shares, rest].forEach((share, rung) => {
        kept += share * (entries[rung] as number);
        price += rung === rungs ? 0 : share * (prices[head * rungs + rung] as number);
      });
    }
    expect(kept).toBeLessThanOrEqual(budget + 1e-9);
    expect(mixed).toBeLessThanOrEqual(1);
    for (let code = 0; code < 4 ** heads; code++) {
      const choice = Array.from({ length: heads }, (_, head) => Math.floor(code / 4 ** head) % 4);
      if (choice.reduce((sum, rung) => sum + (entries[rung] as number), 0) > budget) continue;
      const cost = choice.reduce(
        (sum, rung, head) => sum + (rung === rungs ? 0 : (prices[head * rungs + rung] as number)),
        0,
      );
      expect(price).toBeLessThanOrEqual(cost + 1e-9);
    }
  }
});
