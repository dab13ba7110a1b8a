import { expect, test } from 'vitest';
import { describeDifference, findIdentityDifference } from '../../train/run-identity.ts';

const identity = { config: { lr: 0.02, lengths: [1, 2] }, samples: null };

test('equal identities have no difference, whatever the order of keys', () => {
  expect(findIdentityDifference(identity, { samples: null, config: { lengths: [1, 2], lr: 0.02 } })).toBeNull();
});

test.each([
  [
    { config: { lr: 0.03, lengths: [1] }, samples: null },
    { key: 'config.lr', before: 0.02, now: 0.03 },
  ],
  [
    { config: { lr: 0.02, lengths: [1] }, samples: null },
    { key: 'config.lengths', before: [1, 2], now: [1] },
  ],
  [{ config: { lr: 0.02, lengths: [1, 2] } }, { key: 'samples', before: null, now: undefined }],
  [
    { ...identity, engine: 'native' },
    { key: 'engine', before: undefined, now: 'native' },
  ],
])('the first difference of %j', (now, difference) => {
  expect(findIdentityDifference(identity, now)).toEqual(difference);
});

test('is told in one sentence', () => {
  expect(describeDifference({ key: 'engine', before: undefined, now: 'native' })).toBe(
    'Expected --resume to keep the run\'s settings, but `engine` was `absent` and is `"native"`; use the old value, or --overwrite to start anew.',
  );
});
