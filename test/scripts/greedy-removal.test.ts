// Greedy removal on the tiny model: its first choice is the best single head, every head has a place of its own.
import { expect, it } from 'vitest';
import { openSetup } from '../../scripts/compare-setup.ts';
import { removeGreedily } from '../../scripts/greedy-removal.ts';
import { filledGrid } from '../../src/core/shapes.ts';

it('closes the head that costs the answers least, then the next', { timeout: 60_000 }, async () => {
  const setup = await openSetup({ model: 'test/models/tiny', preset: 'tiny', engine: 'tensorflow', heldOut: 1 });
  const { layers, kvHeads } = setup.engine.model;
  const gates = await removeGreedily(setup, setup.heldOut);
  expect(gates.flat().sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((place) => place / 8));
  const costs: number[] = [];
  for (let head = 0; head < layers * kvHeads; head++) {
    const mask = filledGrid(layers, kvHeads, 1);
    mask[Math.floor(head / kvHeads)]![head % kvHeads] = 0;
    costs.push((await setup.engine.evaluate(setup.heldOut[0]!, { mask, window: setup.window })).logProb);
  }
  await setup.close();
  expect(costs.indexOf(Math.max(...costs))).toBe(gates.flat().indexOf(0));
});
